"""The player that knows the truth: the 0 of normalized regret."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation, Reply


class OraclePlayer:
    """Plays the action of highest expected reward in each round. ``expected_T_A``: ``Oracle.expected_T_A``."""

    name = "oracle"

    def __init__(self, expected_T_A: np.ndarray) -> None:
        self._best_T = expected_T_A.argmax(axis=1)

    async def act(self, observation: Observation) -> Reply:
        return Reply(action=int(self._best_T[observation.turn]))
