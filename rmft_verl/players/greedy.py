"""Greedy play: the arm with the best empirical mean, without exploration."""

from __future__ import annotations

import numpy as np

from rmft_verl.players.arms import Arms, argmax
from rmft_verl.types import Observation, Reply


class Greedy:
    """Pulls each arm once in random order, then the arm with the best empirical mean; ties are broken at random.

    This is the Greedy baseline of Krishnamurthy et al. 2024 (experimental setup).
    """

    name = "greedy"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        self._arms.see(observation)
        return Reply(action=argmax(self._arms.means_A, self._rng))
