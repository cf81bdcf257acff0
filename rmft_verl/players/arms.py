"""What a bandit algorithm remembers: how often each arm was pulled and what it paid."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation


class Arms:
    """Pull counts and reward sums of one episode, shape (A,) each; empty before the first observation."""

    def __init__(self) -> None:
        self.counts_A = np.zeros(0)
        self.sums_A = np.zeros(0)

    def see(self, observation: Observation) -> None:
        """Take in the round before. ``ValueError`` where actions are not arms."""
        if observation.spec.full_information:
            raise ValueError("this player plays bandits; the game reveals all rewards (full_information=True)")
        arm, feedback_A = observation.last_action, observation.feedback_A
        if arm is None or feedback_A is None:
            self.counts_A = np.zeros(observation.spec.n_actions)
            self.sums_A = np.zeros(observation.spec.n_actions)
        elif not isinstance(arm, tuple):
            self.counts_A[arm] += 1
            self.sums_A[arm] += feedback_A[arm]

    @property
    def means_A(self) -> np.ndarray:
        """Empirical mean of each arm, infinite where never pulled: whoever maximizes tries every arm first."""
        tried_A = self.counts_A > 0
        return np.divide(self.sums_A, self.counts_A, out=np.full_like(self.sums_A, np.inf), where=tried_A)


def argmax(values_A: np.ndarray, rng: np.random.Generator) -> int:
    """Index of the largest value, ties broken uniformly by ``rng``."""
    best = np.flatnonzero(values_A == values_A.max())
    return int(best[0] if len(best) == 1 else rng.choice(best))
