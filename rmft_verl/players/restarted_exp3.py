"""EXP3 that forgets everything at regular intervals, for bandits that drift."""

from __future__ import annotations

import math

from rmft_verl.players.exp3 import EXP3
from rmft_verl.types import GameSpec

BUDGET = 1.0
"""The drift budget V it is tuned for, in reward units: one swing over the whole range. The true one is hidden."""


class RestartedEXP3(EXP3):
    """EXP3 started afresh every ceil((K log K)^(1/3) (T / V)^(2/3)) rounds, with the rate for that many rounds.

    Rexp3 of Besbes, Gur and Zeevi 2014. Never more rounds than the game has.
    """

    name = "restarted_exp3"

    def run_length(self, spec: GameSpec) -> int:
        """Rounds between two fresh starts."""
        n_actions, horizon = spec.n_actions, spec.horizon
        rounds = math.ceil(math.pow(n_actions * math.log(n_actions) * (horizon / BUDGET) ** 2, 1 / 3))
        return max(1, min(rounds, horizon))
