"""Optimism with a fading memory: UCB on discounted counts."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.arms import Arms, argmax, pulled
from rmft_verl.types import Observation, Reply

EXPLORATION = 0.6
"""xi of the bonus; the theory needs more than 1/2."""


def discount(horizon: int) -> float:
    """What a round is worth one round later: 1 - 1 / (4 sqrt(T)), the published choice for one change of the means."""
    return 1 - 1 / (4 * math.sqrt(horizon))


class DiscountedUCB:
    """argmax_a mean_a + 4 sd sqrt(xi log(n) / n_a), means and counts discounted, n the sum of the n_a, ties at random.

    D-UCB of Garivier and Moulines 2011. The number of changes and the drift budget are unknown to it: the
    factor is ``discount``. Untried arms come first. The reward bound B of the paper is 2 sd with
    ``GameSpec.reward_scale``: 1 for Bernoulli rewards. The bonus is wide: at short horizons it explores nearly
    uniformly.
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
