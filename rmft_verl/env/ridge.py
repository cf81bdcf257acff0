"""One ridge regression per arm: what a contextual bandit's rewards say about each arm's weights.

It uses one matrix per arm and adds a round by the rank-one formula of Sherman and Morrison, without solving anything.
"""

from __future__ import annotations

import numpy as np

from rmft_verl.types import GameSpec, Observation

RIDGE = 1.0
"""Weight of the identity in the regression, as in Li et al. 2010, algorithm 1."""


class RidgeArms:
    """For each arm: V_a = ridge I + sum x x' and b_a = sum x r over its rounds, with weights theta_a = V_a^-1 b_a."""

    def __init__(self, n_actions: int, n_features: int, ridge: float = RIDGE) -> None:
        self.inverse_A_F_F = np.tile(np.eye(n_features) / ridge, (n_actions, 1, 1))
        """V_a^-1, shape (A, F, F)."""
        self.sums_A_F = np.zeros((n_actions, n_features))
        """b_a, shape (A, F)."""

    def add(self, arm: int, context_F: np.ndarray, reward: float) -> None:
        """Record that ``arm`` paid ``reward`` for ``context_F``."""
        inverse_F_F = self.inverse_A_F_F[arm]
        gain_F = inverse_F_F @ context_F
        inverse_F_F -= np.outer(gain_F, gain_F) / (1.0 + context_F @ gain_F)
        self.sums_A_F[arm] += reward * context_F

    @property
    def weights_A_F(self) -> np.ndarray:
        """theta_a, shape (A, F)."""
        return np.asarray(np.einsum("aij,aj->ai", self.inverse_A_F_F, self.sums_A_F))

    def means_A(self, context_F: np.ndarray) -> np.ndarray:
        """theta_a' x of every arm, shape (A,)."""
        return np.asarray(self.weights_A_F @ context_F)

    def widths_A(self, context_F: np.ndarray) -> np.ndarray:
        """sqrt(x' V_a^-1 x) of every arm, shape (A,)."""
        return np.asarray(np.sqrt(np.einsum("i,aij,j->a", context_F, self.inverse_A_F_F, context_F)))


class LinearArms:
    """What a contextual bandit has shown so far: a ``RidgeArms`` of all finished rounds; empty before the first."""

    def __init__(self) -> None:
        self._before_F: np.ndarray | None = None
        self.arms = RidgeArms(0, 0)

    def see(self, observation: Observation) -> np.ndarray:
        """Record the previous round with its context; returns this round's, shape (F,).

        ``ValueError`` if the game shows no context or if its actions are not arms.
        """
        spec, context_F, arm, feedback_A = self._read(observation)
        if arm is None or feedback_A is None:
            self.arms = RidgeArms(spec.n_actions, spec.n_features)
        else:
            assert self._before_F is not None
            self.arms.add(arm, self._before_F, feedback_A.item(arm))
        self._before_F = context_F
        return context_F

    @staticmethod
    def _read(observation: Observation) -> tuple[GameSpec, np.ndarray, int | None, np.ndarray | None]:
        arm, context_F = observation.last_action, observation.context_F
        if context_F is None or observation.spec.full_information or isinstance(arm, tuple):
            raise ValueError("this player reads contexts of bandits; the game shows none (n_features=0) or has no arms")
        return observation.spec, context_F, arm, observation.feedback_A
