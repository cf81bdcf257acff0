"""Thompson sampling in a linear model: pull the arm that is best in one draw of the weights."""

from __future__ import annotations

import numpy as np

from rmft_verl.env.ridge import LinearArms
from rmft_verl.players.arms import argmax
from rmft_verl.types import Observation, Reply


class LinearThompson:
    """Draws theta_a from N(V_a^-1 b_a, sd^2 V_a^-1) for every arm and pulls the one with the largest theta_a' x.

    Thompson sampling for linear payoffs (Agrawal and Goyal 2013, algorithm 1) with disjoint models: V_a = I + sum x x'
    over the arm's rounds, so the prior of the weights is N(0, sd^2 I). The published scale v is
    ``GameSpec.reward_scale``, the standard deviation of a reward: draws then come from the posterior, not from a wider
    law as the theory asks. Only theta_a' x matters, so that number is drawn.
    """

    name = "linear_thompson"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._memory = LinearArms()

    async def act(self, observation: Observation) -> Reply:
        context_F = self._memory.see(observation)
        arms, noise_A = self._memory.arms, self._rng.standard_normal(observation.spec.n_actions)
        draws_A = arms.means_A(context_F) + observation.spec.reward_scale * arms.widths_A(context_F) * noise_A
        return Reply(action=argmax(draws_A.tolist(), self._rng))
