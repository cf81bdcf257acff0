"""Checks of a run on numbers before torch is imported: the model's name, the games, the loss."""

from __future__ import annotations

from typing import Any

from rmft_verl.algo.selection import count
from rmft_verl.config import BALL, NUMERIC, Config, ConfigError
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.seeds import held_out_scenarios
from rmft_verl.labs.numeric.ball import make_games
from rmft_verl.setup.config_checks import samples_per_scenario
from rmft_verl.types import Scenario

MODELS = ("transformer", "softmax", "linear")
SIMULATED = ("fol", "mab", "nsmab")
"""The environments whose games ``games.lay_out`` knows."""

ANSWERING = ("adversary", "matrix_game")
"""Sequences that react to the player, so they cannot be laid out in advance."""


def check_numeric(config: Config) -> None:
    """Refuse what the numerical track does not support; raises ``ConfigError``."""
    name = config.model.path.removeprefix(NUMERIC)
    if name not in MODELS:
        raise ConfigError(f"model.path={config.model.path!r}: choose {', '.join(NUMERIC + known for known in MODELS)}")
    if config.env.name not in (*SIMULATED, BALL):
        raise ConfigError(f"env.name={config.env.name!r}: models on numbers play {', '.join(SIMULATED)} or {BALL}")
    if config.env.name == BALL:
        if name == "transformer" or config.update.loss == "dpt":
            raise ConfigError(
                f"env.name='ball' is for model.path=numeric:linear or numeric:softmax and update.loss=regret or sft, "
                f"not {config.model.path!r} and {config.update.loss!r}"
            )
        for key, value, only in (
            ("selection.score", config.selection.score, "regret"),
            ("update.start", config.update.start, "current"),
        ):
            if value != only:
                raise ConfigError(f"{key}={value!r}: env.name='ball' supports {only} only; leave it out")
        make_games(config)
        return
    if config.update.loss == "regret" and config.env.name != "fol":
        raise ConfigError(
            f"update.loss='regret' is back-propagated through revealed rewards, which {config.env.name} hides: "
            "use env.name=fol, or update.loss=sft or dpt"
        )
    for options in (config.env.options, config.env.options | config.env.eval_options):
        for sequence in _listed(options.get("sequence", ())):
            if sequence in ANSWERING:
                raise ConfigError(
                    f"env.options: sequence={sequence!r} answers the player; models on numbers need others"
                )


def one_size(config: Config) -> tuple[Any, list[Scenario]]:
    """Training generator and held-out scenarios; ``ConfigError`` unless all share K and training has one horizon."""
    env_class = load_env(config.env.name, config.env_dirs)
    generator, held_out = make_generator(env_class, config.env.options), held_out_scenarios(config, env_class)
    key = "actions" if config.env.name == "fol" else "arms"
    sizes = {*vars(generator)[key], *(len(scenario.actions) for scenario in held_out)}
    if len(sizes) > 1:
        raise ConfigError(
            f"env.options: {key}={sorted(sizes)}: a model on numbers has one size of input, so give one number"
        )
    if len(vars(generator)["horizon"]) > 1:
        raise ConfigError(
            f"env.options: horizon={list(vars(generator)['horizon'])}: games of a batch have one length, so give one; "
            "env.eval_options may have several"
        )
    return generator, held_out


def plan_lines(config: Config) -> list[str]:
    """The plan of a run, line by line."""
    rollout, update = config.rollout, config.update
    played = rollout.scenarios * rollout.rollouts
    if update.loss == "sft":
        kept = count(config.selection.keep, rollout.rollouts)
        what = f"keep {kept} of {rollout.rollouts} plays a game by {config.selection.score}"
    else:
        what = "the games themselves"
    samples = rollout.scenarios * samples_per_scenario(config)
    steps = update.epochs * -(-samples // update.batch)
    return [
        f"plan of recipe {config.recipe or '(none)'}: {config.model.path} on {config.env.name}, without verl",
        "",
        f"iteration: {rollout.scenarios} games x {rollout.rollouts} plays = {played}",
        f"update: {update.loss}, {what}, {steps} optimizer steps",
        f"run: {config.iterations} iterations, {config.eval.scenarios} held-out games every {config.eval.every}",
    ]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
