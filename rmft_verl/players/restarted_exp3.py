"""EXP3 that forgets everything at regular intervals, for bandits that drift."""

from __future__ import annotations

import math

from rmft_verl.players.exp3 import EXP3
from rmft_verl.types import GameSpec

BUDGET = 1.0
"""Assumed drift budget V in reward units: one swing over the whole range. The true budget is hidden."""


class RestartedEXP3(EXP3):
    """EXP3 that restarts every ceil((K log K)^(1/3) (T / V)^(2/3)) rounds, with the rate for that many rounds.

    This is Rexp3 of Besbes, Gur and Zeevi 2014, with at most T rounds.
    """

    name = "restarted_exp3"

    def run_length(self, spec: GameSpec) -> int:
        """Rounds between two restarts."""
        n_actions, horizon = spec.n_actions, spec.horizon
        rounds = math.ceil(math.pow(n_actions * math.log(n_actions) * (horizon / BUDGET) ** 2, 1 / 3))
        return max(1, min(rounds, horizon))
