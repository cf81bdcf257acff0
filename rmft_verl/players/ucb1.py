"""Optimism: the empirical mean plus a bonus that shrinks with the number of pulls."""

from __future__ import annotations

import numpy as np

from rmft_verl.env.guide import UCB_EXPLORATION
from rmft_verl.players.arms import Arms, argmax
from rmft_verl.types import Observation, Reply


class UCB1:
    """Pulls argmax_a mean_a + 2 sd sqrt(C / n_a), but untried arms first; ties are broken at random.

    The UCB baseline of Krishnamurthy et al. 2024 (experimental setup) has a constant C where Auer et al. 2002 have
    2 log t (``ucb1_auer``). ``sd`` is ``GameSpec.reward_scale``: 0.5 for Bernoulli rewards, which makes the rule the
    published one. The bonus does not grow, so an unlucky arm may never be pulled again: this is good at short
    horizons, but has no logarithmic bound at long ones.
    """

    name = "ucb1"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        self._arms.see(observation)
        bounds_A = self._arms.upper_bounds_A(2 * observation.spec.reward_scale, UCB_EXPLORATION)
        return Reply(action=argmax(bounds_A, self._rng))
