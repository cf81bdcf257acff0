"""The player that knows the truth: the 0 of normalized regret."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation, Oracle, Reply


class OraclePlayer:
    """Plays what regret compares with, the truth of the game given.

    External regret: the action that is best over all rounds. Pseudo-regret and dynamic regret: the action of highest
    expected reward in each round. In full-information games it plays the corner of the simplex. Against an adversary
    that answers the player, the truth of one play is not that of the next, and there is no such player.
    """

    name = "oracle"

    def __init__(self, oracle: Oracle) -> None:
        expected_T_A = oracle.expected_T_A
        if oracle.kind == "external":
            expected_T_A = np.broadcast_to(expected_T_A.sum(axis=0), expected_T_A.shape)
        self._best_T: list[int] = expected_T_A.argmax(axis=1).tolist()

    async def act(self, observation: Observation) -> Reply:
        best = self._best_T[observation.turn]
        if observation.spec.full_information:
            return Reply(action=tuple(float(a == best) for a in range(observation.spec.n_actions)))
        return Reply(action=best)
