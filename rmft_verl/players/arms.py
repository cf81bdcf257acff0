"""The memory of bandit algorithms: how often each arm was pulled and what it paid.

It uses plain floats and lists, which are several times faster than arrays for so few arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rmft_verl.types import Observation

UNIT_LAWS = ("bernoulli", "bounded")
"""Reward laws within 0 and 1."""

TIE = 1e-9
"""Averages, bounds and sums closer than this are equal: the rounding of floats must not break a tie. In sums of 1,000
rewards of size 1 it adds up to less than 1e-12; averages of up to 1,000 such rewards with two decimals differ by at
least 1e-8 unless they are equal."""


def pulled(observation: Observation) -> tuple[int, float] | None:
    """Arm and reward of the previous round; None in the first round. ``ValueError`` if actions are not arms."""
    arm, feedback_A = observation.last_action, observation.feedback_A
    if observation.spec.full_information or isinstance(arm, tuple):
        raise ValueError("this player plays bandits; the game reveals all rewards (full_information=True)")
    return None if arm is None or feedback_A is None else (arm, feedback_A.item(arm))


class Arms:
    """Pull counts and reward sums of one episode, shape (A,) each; empty before the first observation."""

    def __init__(self) -> None:
        self.counts_A: list[float] = []
        self.sums_A: list[float] = []

    def see(self, observation: Observation) -> None:
        """Record the previous round. ``ValueError`` if actions are not arms."""
        last = pulled(observation)
        if last is None:
            self.clear(observation.spec.n_actions)
        else:
            self.add(*last)

    def clear(self, n_actions: int) -> None:
        self.counts_A = [0.0] * n_actions
        self.sums_A = [0.0] * n_actions

    def add(self, arm: int, reward: float) -> None:
        self.counts_A[arm] += 1
        self.sums_A[arm] += reward

    @property
    def means_A(self) -> list[float]:
        """Empirical mean of each arm, infinite if it was never pulled, so that every arm is tried first."""
        return [total / n if n else math.inf for total, n in zip(self.sums_A, self.counts_A, strict=True)]

    def upper_bounds_A(self, width: float, numerator: float) -> list[float]:
        """mean_a + width sqrt(numerator / n_a); infinite for arms that were never pulled."""
        sqrt = math.sqrt
        return [
            total / n + width * sqrt(numerator / n) if n else math.inf
            for total, n in zip(self.sums_A, self.counts_A, strict=True)
        ]


def leaders(values_A: Sequence[float]) -> list[int]:
    """Indices of the largest value and of all that tie with it."""
    least = max(values_A) - TIE
    return [a for a, value in enumerate(values_A) if value >= least]


def argmax(values_A: list[float], rng: np.random.Generator) -> int:
    """Index of the largest value, ties broken uniformly by ``rng``.

    Only equal floats tie, unlike in ``leaders``: a change would alter the plays behind every number on file.
    """
    largest = max(values_A)
    if values_A.count(largest) == 1:
        return values_A.index(largest)
    best = [a for a, value in enumerate(values_A) if value == largest]
    return best[int(rng.integers(len(best)))]
