"""The memory of players that read contexts: one ridge regression per arm, and the context that was last acted on."""

from __future__ import annotations

import numpy as np

from rmft_verl.env.ridge import RidgeArms
from rmft_verl.players.arms import pulled
from rmft_verl.types import Observation


class LinearArms:
    """Reads observations into a ``RidgeArms``; empty before the first."""

    def __init__(self) -> None:
        self._before_F: np.ndarray | None = None
        self.arms = RidgeArms(0, 0)

    def see(self, observation: Observation) -> np.ndarray:
        """Record the previous round with its context; returns this round's, shape (F,).

        ``ValueError`` if actions are not arms, or if the game shows no context.
        """
        last, context_F = pulled(observation), observation.context_F
        if context_F is None:
            raise ValueError("this player reads contexts; the game shows none (n_features=0)")
        if last is None:
            self.arms = RidgeArms(observation.spec.n_actions, observation.spec.n_features)
        else:
            assert self._before_F is not None
            self.arms.add(last[0], self._before_F, last[1])
        self._before_F = context_F
        return context_F
