"""The memory of full-information algorithms: what every action would have earned so far."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation, Reply


class Totals:
    """Reward sum of every action, shape (A,); empty before the first observation."""

    def __init__(self) -> None:
        self.sums_A = np.zeros(0)

    def see(self, observation: Observation) -> None:
        """Add the rewards of the previous round. ``ValueError`` if only the reward of the arm played is revealed."""
        spec = observation.spec
        if not spec.full_information:
            raise ValueError(
                "this player needs the rewards of all actions; the game is a bandit (full_information=False)"
            )
        if observation.feedback_A is None:
            self.sums_A = np.zeros(spec.n_actions)
        else:
            self.sums_A = self.sums_A + observation.feedback_A


def mixed(policy_A: np.ndarray) -> Reply:
    """The reply that plays a point of the simplex, shape (A,)."""
    return Reply(action=tuple(policy_A.tolist()))
