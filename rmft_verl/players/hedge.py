"""Hedge: exponential weights on past reward sums."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.totals import Totals, mixed
from rmft_verl.types import Observation, Reply


def rate(horizon: int, n_actions: int) -> float:
    """sqrt(8 log K / T): the standard rate for rewards in [0, 1] and a known horizon."""
    return math.sqrt(8 * math.log(n_actions) / horizon)


class Hedge:
    """Plays the policy proportional to exp(rate x past reward sums): FTRL with negative entropy as the regularizer.

    Its external regret is at most sqrt(T log K / 2) for rewards in [0, 1], on every sequence (Cesa-Bianchi and Lugosi
    2006, theorem 2.2).
    """

    name = "hedge"

    def __init__(self, rng: np.random.Generator) -> None:
        self._totals = Totals()

    async def act(self, observation: Observation) -> Reply:
        self._totals.see(observation)
        sums_A = self._totals.sums_A
        weights_A = np.exp(rate(observation.spec.horizon, observation.spec.n_actions) * (sums_A - sums_A.max()))
        return mixed(weights_A / weights_A.sum())
