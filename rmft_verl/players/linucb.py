"""Optimism in a linear model: the estimate for the context at hand plus a bonus for its doubt."""

from __future__ import annotations

import numpy as np

from rmft_verl.env.guide import linucb_bonus_A
from rmft_verl.env.ridge import LinearArms
from rmft_verl.players.arms import argmax
from rmft_verl.types import Observation, Reply


class LinUCB:
    """Pulls argmax_a theta_a' x + 2 sd alpha sqrt(x' V_a^-1 x) with alpha = 1; ties are broken at random.

    LinUCB with disjoint linear models (Li et al. 2010, algorithm 1): V_a = I + sum x x' over the arm's rounds. ``sd``
    is ``GameSpec.reward_scale``; the factor 2 sd is 1 for the rewards within 0 and 1 for which the rule was published.
    """

    name = "linucb"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._memory = LinearArms()

    async def act(self, observation: Observation) -> Reply:
        context_F = self._memory.see(observation)
        arms = self._memory.arms
        bonus_A = linucb_bonus_A(arms.widths_A(context_F), observation.spec.reward_scale)
        bounds_A = arms.means_A(context_F) + bonus_A
        return Reply(action=argmax(bounds_A.tolist(), self._rng))
