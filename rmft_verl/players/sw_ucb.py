"""Optimism about the recent past: UCB on a sliding window."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from rmft_verl.players.arms import Arms, argmax, pulled
from rmft_verl.types import Observation, Reply

EXPLORATION = 0.6
"""The constant xi of the bonus; the theory needs more than 1/2."""


def window(horizon: int) -> int:
    """Rounds in the window: 2 sqrt(T log T), the published choice for one change of the means, rounded up."""
    return max(1, math.ceil(2 * math.sqrt(horizon * math.log(horizon))))


class SlidingWindowUCB:
    """Pulls argmax_a mean_a + 2 sd sqrt(xi log(min(t, tau)) / n_a) over the last tau rounds.

    This is SW-UCB of Garivier and Moulines 2011, which knows neither the number of changes nor the drift budget: tau is
    ``window``. Arms not pulled in the window come first; ties are broken at random. The paper's reward bound B is 2 sd
    with sd = ``GameSpec.reward_scale``: 1 for Bernoulli rewards.
    """

    name = "sw_ucb"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()
        self._recent: deque[tuple[int, float]] = deque()

    async def act(self, observation: Observation) -> Reply:
        spec = observation.spec
        self._see(observation)
        numerator = EXPLORATION * math.log(max(len(self._recent), 1))
        return Reply(action=argmax(self._arms.upper_bounds_A(2 * spec.reward_scale, numerator), self._rng))

    def _see(self, observation: Observation) -> None:
        last = pulled(observation)
        if last is None:
            self._arms.clear(observation.spec.n_actions)
            return
        self._arms.add(*last)
        self._recent.append(last)
        if len(self._recent) > window(observation.spec.horizon):
            arm, reward = self._recent.popleft()
            self._arms.counts_A[arm] -= 1
            self._arms.sums_A[arm] -= reward
