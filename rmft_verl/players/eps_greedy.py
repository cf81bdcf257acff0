"""Greedy play with occasional random arms."""

from __future__ import annotations

import numpy as np

from rmft_verl.players.arms import Arms, argmax
from rmft_verl.types import Observation, Reply

EPSILON = 0.1
"""Share of rounds that explore; the common choice (Sutton and Barto 2018, section 2.3)."""


class EpsGreedy:
    """Pulls a uniform arm with probability ``EPSILON``, else the arm with the best empirical mean.

    Untried arms come first; ties are broken at random. Its regret is linear, because it never stops exploring;
    Auer et al. 2002 (section 2) shrink epsilon to avoid that.
    """

    name = "eps_greedy"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        self._arms.see(observation)
        if self._rng.random() < EPSILON:
            return Reply(action=int(self._rng.integers(observation.spec.n_actions)))
        return Reply(action=argmax(self._arms.means_A, self._rng))
