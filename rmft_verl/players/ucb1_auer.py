"""UCB1 as it was first published: the bonus grows with the logarithm of time."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.arms import Arms, argmax
from rmft_verl.types import Observation, Reply


class UCB1Auer:
    """Pulls argmax_a mean_a + 2 sd sqrt(2 log t / n_a) after t rounds, but untried arms first.

    This is UCB1 of Auer, Cesa-Bianchi and Fischer 2002 (figure 1); ties are broken at random. ``sd`` is
    ``GameSpec.reward_scale``: 0.5 for Bernoulli rewards, so 2 sd = 1 as in the paper. There the expected pseudo-regret
    is at most the sum of 8 log T / gap_a + (1 + pi^2 / 3) gap_a over the arms with a gap (theorem 1).
    """

    name = "ucb1_auer"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        self._arms.see(observation)
        numerator = 2 * math.log(max(observation.turn, 1))
        bounds_A = self._arms.upper_bounds_A(2 * observation.spec.reward_scale, numerator)
        return Reply(action=argmax(bounds_A, self._rng))
