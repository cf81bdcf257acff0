"""Uniform play; its expected normalized regret is 1."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation, Reply


class Uniform:
    """Always pulls a uniformly random arm; in full-information games it plays the center of the simplex."""

    name = "uniform"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    async def act(self, observation: Observation) -> Reply:
        n_actions = observation.spec.n_actions
        if observation.spec.full_information:
            return Reply(action=(1 / n_actions,) * n_actions)
        return Reply(action=int(self._rng.integers(n_actions)))
