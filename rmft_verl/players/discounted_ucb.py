"""Optimism with a fading memory: UCB on discounted counts."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.arms import Arms, argmax, pulled
from rmft_verl.types import Observation, Reply

EXPLORATION = 0.6
"""The constant xi of the bonus; the theory needs more than 1/2."""


def discount(horizon: int) -> float:
    """Discount factor per round: 1 - 1 / (4 sqrt(T)), the published choice for one change of the means."""
    return 1 - 1 / (4 * math.sqrt(horizon))


class DiscountedUCB:
    """Pulls argmax_a mean_a + 4 sd sqrt(xi log(n) / n_a) with discounted means and counts; n is the sum of the n_a.

    This is D-UCB of Garivier and Moulines 2011, which knows neither the number of changes nor the drift budget: the
    factor is ``discount``. Untried arms come first; ties are broken at random. The paper's reward bound B is 2 sd with
    sd = ``GameSpec.reward_scale``: 1 for Bernoulli rewards. The bonus is so wide that at short horizons exploration is
    nearly uniform.
    """

    name = "discounted_ucb"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        spec, arms = observation.spec, self._arms
        last = pulled(observation)
        if last is None:
            arms.clear(spec.n_actions)
        else:
            factor = discount(spec.horizon)
            arms.counts_A = [factor * n for n in arms.counts_A]
            arms.sums_A = [factor * total for total in arms.sums_A]
            arms.add(*last)
        numerator = EXPLORATION * math.log(max(sum(arms.counts_A), 1.0))
        return Reply(action=argmax(arms.upper_bounds_A(4 * spec.reward_scale, numerator), self._rng))
