"""Follow the leader: greedy play of full-information games."""

from __future__ import annotations

import numpy as np

from rmft_verl.players.arms import TIE
from rmft_verl.players.totals import Totals, mixed
from rmft_verl.types import Observation, Reply


class FTL:
    """Puts all weight on the action with the largest reward sum; tied leaders share it evenly, as all do in round 1.

    Without regularization the regret is linear if the leader changes every round (Cesa-Bianchi and Lugosi 2006,
    section 3.2).
    """

    name = "ftl"

    def __init__(self, rng: np.random.Generator) -> None:
        self._totals = Totals()

    async def act(self, observation: Observation) -> Reply:
        self._totals.see(observation)
        leads_A = self._totals.sums_A >= self._totals.sums_A.max() - TIE
        return mixed(leads_A / leads_A.sum())
