"""Checks on drawn scenarios, before anything loads, that the environment and the configuration fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.algo.credit import SCALE
from rmft_verl.algo.linear import LinearPrior, prior_of
from rmft_verl.config import Config, ConfigError
from rmft_verl.env import Env, make_generator
from rmft_verl.env.tokens import PROBED_SCENARIOS, Budget
from rmft_verl.players import can_play
from rmft_verl.setup.examples import asked_examples
from rmft_verl.setup.warmup import PLAYER
from rmft_verl.types import GameSpec, Oracle, Scenario


def check_fit(config: Config, env_class: type[Env]) -> None:
    """Raise ``ConfigError`` if the environment lacks what the score, credit, player or rollout needs."""
    generator, rng = make_generator(env_class, config.env.options), np.random.default_rng(0)
    drawn: list[Scenario] = [generator.draw(rng) for _ in range(PROBED_SCENARIOS)]
    games = [(scenario, env_class(scenario, 0).reset().spec) for scenario in drawn]
    bandits = [scenario for scenario, spec in games if not spec.full_information]
    name = config.env.name
    if config.selection.score == "posterior":
        check_prior(name, generator, bandits)
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
    shown = asked_examples(config.rollout.examples).player
    warms = [("player", PLAYER)] if config.warmup.scenarios else []
    for key, teacher in [("player", config.rollout.player), ("examples", shown), *warms]:
        if teacher not in ("model", ""):
            _check_teacher(teacher, key, name, env_class, games)


def _check_bounds(name: str, specs: list[GameSpec]) -> None:
    other = next((spec.reward_scale for spec in specs if spec.reward_scale != SCALE), None)
    if other is not None:
        raise ConfigError(
            f"update.credit='ucb': its bounds are for rewards of standard deviation {SCALE}, and {name} draws some of "
            f"{other:g}: use score or strategic, or other env.options"
        )


ROUNDING = 1e-3
"""Means of scenarios may be rounded to three digits."""


def check_prior(name: str, generator: object, bandits: list[Scenario]) -> None:
    if not bandits:
        raise ConfigError(
            f"selection.score='posterior': {name} reveals all rewards, so there is no luck of exploration to remove; "
            "use selection.score=regret"
        )
    try:
        for scenario in bandits:
            prior, rng = prior_of(generator, scenario), np.random.default_rng(0)
            if prior.drifts:
                generator.draw_means(scenario, rng)  # type: ignore[attr-defined]
    except AttributeError as error:
        if error.name not in ("prior", "draw_means"):
            raise
        raise ConfigError(
            f"selection.score='posterior': the generator of {name} has no {error.name}(...); give it one "
            "(docs/write_an_env.md) or use selection.score=regret"
        ) from error
    except TypeError as error:
        raise ConfigError(
            f"selection.score='posterior': prior() of {name} has other keywords than docs/write_an_env.md: {error}"
        ) from error
    except ValueError as error:
        raise ConfigError(f"selection.score='posterior': {error}, or use selection.score=regret") from error


def check_truth_of_prior(name: str, generator: Any, truths: Sequence[tuple[Scenario, Oracle]]) -> None:
    """Raise ``ConfigError`` if the means of a drawn game have no chance under what ``generator.prior`` says of it."""
    for scenario, oracle in truths:
        prior, means_T_A = prior_of(generator, scenario), oracle.expected_T_A
        if isinstance(prior, LinearPrior):
            _check_linear(name, prior, means_T_A)
            continue
        if means_T_A.min() < prior.low - ROUNDING or means_T_A.max() > prior.high + ROUNDING:
            raise ConfigError(
                f"prior() of {name} says means between {prior.low:g} and {prior.high:g}, and a game has means from "
                f"{means_T_A.min():.4g} to {means_T_A.max():.4g}: return the range that draw() draws from"
            )
        second, best = np.sort(means_T_A[0])[-2:]
        if not prior.drifts and best - second < prior.min_gap - ROUNDING:
            raise ConfigError(
                f"prior() of {name} says min_gap={prior.min_gap:g}, and a game has a gap of {best - second:.4g}: "
                "return the gap that draw() keeps"
            )


def _check_linear(name: str, prior: LinearPrior, means_T_A: np.ndarray) -> None:
    contexts_T_F = prior.contexts_T_F
    weights_F_A = np.linalg.lstsq(contexts_T_F, means_T_A, rcond=None)[0]
    off = float(np.abs(contexts_T_F @ weights_F_A - means_T_A).max())
    if off > ROUNDING:
        raise ConfigError(
            f"prior() of {name} says means linear in the contexts, and those of a game are {off:.4g} off any such "
            "function: return the contexts from which oracle() follows"
        )


def _check_teacher(
    player: str, key: str, name: str, env_class: type[Env], games: list[tuple[Scenario, GameSpec]]
) -> None:
    if not hasattr(env_class, "say"):
        raise ConfigError(
            f"rollout.{key}={player!r}: {name} has no say(action), so nothing can be imitated in words; add it "
            "(docs/write_an_env.md)"
        )
    unfit = next((scenario for scenario, spec in games if not can_play(player, spec)), None)
    if unfit is not None:
        raise ConfigError(f"rollout.{key}={player!r} cannot play {unfit.env} with these options: choose another player")


def check_budget(budget: Budget, config: Config) -> None:
    """Raise ``ConfigError`` if the longest dialogue does not fit ``model.context``."""
    context = config.model.context
    if budget.total <= context:
        return
    room = (context - budget.prompt_tokens - budget.observation_tokens) // budget.replies
    remedy = (
        f"set rollout.reply_tokens to at most {room}" if room > 0 else f"raise model.context to at least {budget.total}"
    )
    raise ConfigError(
        f"model.context={context}: a dialogue may need {budget.total} tokens (prompt {budget.prompt_tokens} + "
        f"observations {budget.observation_tokens} + {budget.replies} replies x {budget.reply_tokens} tokens); "
        f"{remedy}"
    )


def check_positions(positions: int | None, config: Config) -> None:
    """Raise ``ConfigError`` if ``model.context`` exceeds the model's ``positions``; None = unknown, not checked.

    If ``verl:`` overrides the model's own configuration (``override_config``, such as a longer rope), verl decides.
    """
    told: Any = config.verl
    for key in ("actor_rollout_ref", "model", "override_config"):
        told = told.get(key) or {}
    if positions is not None and config.model.context > positions and not told:
        raise ConfigError(
            f"model.context={config.model.context}: {config.model.path} has {positions} positions; lower it"
        )
