"""Do the environment and the method fit each other? Asked on drawn scenarios, before anything loads."""

from __future__ import annotations

import numpy as np

from rmft_verl.config import Config, ConfigError
from rmft_verl.credit import SCALE
from rmft_verl.env import Env
from rmft_verl.plan import PROBED_SCENARIOS, make_generator
from rmft_verl.players import can_play
from rmft_verl.posterior import Prior
from rmft_verl.types import GameSpec, Scenario
from rmft_verl.warmup import PLAYER


def check_fit(config: Config, env_class: type[Env]) -> None:
    """Raise ``ConfigError`` where the score needs a prior, or the player or the credit a game, that is not there."""
    generator, rng = make_generator(env_class, config.env.options), np.random.default_rng(0)
    drawn: list[Scenario] = [generator.draw(rng) for _ in range(PROBED_SCENARIOS)]
    games = [(scenario, env_class(scenario, 0).reset().spec) for scenario in drawn]
    bandits = [scenario for scenario, spec in games if not spec.full_information]
    name = config.env.name
    if config.selection.score == "posterior":
        _check_prior(name, generator, bandits)
    if config.update.loss == "grpo" and config.update.credit == "ucb" and len(bandits) < len(games):
        raise ConfigError(f"update.credit='ucb' needs arms, and {name} reveals all rewards: use score or strategic")
    if config.update.credit == "ucb":
        _check_bounds(name, [spec for _, spec in games])
    for key, value in (("structured", config.rollout.structured), ("examples", config.rollout.examples)):
        if value and not hasattr(env_class, "say"):
            raise ConfigError(
                f"rollout.{key}={value}: {name} has no say(action), so its answers are not known in words; add it "
                "(docs/write_an_env.md)"
            )
    teachers = {config.rollout.player} | ({PLAYER} if config.warmup.scenarios else set())
    for teacher in teachers - {"model"}:
        _check_teacher(teacher, name, env_class, games)


def _check_bounds(name: str, specs: list[GameSpec]) -> None:
    other = next((spec.reward_scale for spec in specs if spec.reward_scale != SCALE), None)
    if other is not None:
        raise ConfigError(
            f"update.credit='ucb': its bounds are for rewards of standard deviation {SCALE}, and {name} draws some of "
            f"{other:g}: use score or strategic, or other env.options"
        )


def _check_prior(name: str, generator: object, bandits: list[Scenario]) -> None:
    if not bandits:
        raise ConfigError(
            f"selection.score='posterior': {name} reveals all rewards, so there is no luck of exploration to remove; "
            "use selection.score=regret"
        )
    try:
        for scenario in bandits:
            prior, rng = Prior(**generator.prior(scenario)), np.random.default_rng(0)  # type: ignore[attr-defined]
            if prior.drifts:
                generator.draw_means(scenario, rng)  # type: ignore[attr-defined]
    except AttributeError as error:
        if error.name not in ("prior", "draw_means"):
            raise
        raise ConfigError(
            f"selection.score='posterior': the generator of {name} has no {error.name}(...); give it one "
            "(docs/write_an_env.md) or use selection.score=regret"
        ) from error
    except ValueError as error:
        raise ConfigError(f"selection.score='posterior': {error}, or use selection.score=regret") from error


def _check_teacher(player: str, name: str, env_class: type[Env], games: list[tuple[Scenario, GameSpec]]) -> None:
    if not hasattr(env_class, "say"):
        raise ConfigError(
            f"rollout.player={player!r}: {name} has no say(action), so nothing can be imitated in words; add it "
            "(docs/write_an_env.md)"
        )
    unfit = next((scenario for scenario, spec in games if not can_play(player, spec)), None)
    if unfit is not None:
        raise ConfigError(
            f"rollout.player={player!r} cannot play {unfit.env} with these options: choose another player"
        )
