"""Uniform play: the 1 of normalized regret."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation, Reply


class Uniform:
    """Pulls an arm at random, whatever it has seen."""

    name = "uniform"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    async def act(self, observation: Observation) -> Reply:
        return Reply(action=int(self._rng.integers(observation.spec.n_actions)))
