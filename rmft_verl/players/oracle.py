"""The player that knows the truth; its normalized regret is 0."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Observation, Oracle, Reply


class OraclePlayer:
    """Knows the truth of the game and plays the actions that regret compares with.

    External regret: the action that is best over all rounds. Pseudo-regret and dynamic regret: the action with the
    highest expected reward in each round. In full-information games it plays the corner of the simplex. If an
    adversary reacts to the player, the truth differs between episodes and there is no such player.
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
