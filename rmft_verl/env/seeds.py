"""Seeds: one random stream per purpose, so that draws for one purpose never shift those for another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rmft_verl.config import Config
from rmft_verl.env import Env, make_generator
from rmft_verl.types import Scenario

SCENARIO, REWARD, POLICY, SELECTION, UPDATE, HELD_OUT = range(6)
"""Purposes. A stream is seeded by (purpose, run seed, iteration, ...)."""

HELD_OUT_SEED = 0
"""Independent of the run's seed: all runs of a recipe meet the same scenarios and draws, so runs can be paired."""


def stream_seed(purpose: int, *path: int) -> int:
    """A 32-bit seed for a purpose and a path such as (run seed, iteration, scenario, rollout)."""
    return int(np.random.SeedSequence([purpose, *path]).generate_state(1)[0])


def episode_seeds(seed: int, scenario_index: int, episode: int) -> tuple[int, int]:
    """(reward_seed, policy_seed) of one evaluation episode: all players that use them meet the same draws."""
    reward_seed, policy_seed = np.random.SeedSequence([seed, scenario_index, episode]).generate_state(2)
    return int(reward_seed), int(policy_seed)


def held_out_scenarios(config: Config, env_class: type[Env]) -> list[Scenario]:
    """The scenarios of every evaluation of a run: the same for all runs of a recipe."""
    options = config.env.options | config.env.eval_options
    return draw_held_out(env_class, options, config.eval.scenarios)


def draw_held_out(
    env_class: type[Env], options: Mapping[str, Any], n: int, seed: int = HELD_OUT_SEED
) -> list[Scenario]:
    """The first ``n`` scenarios of a stream that no training uses; a larger ``n`` keeps the earlier ones."""
    generator = make_generator(env_class, options)
    rng = np.random.default_rng([HELD_OUT, seed])
    return [generator.draw(rng) for _ in range(n)]
