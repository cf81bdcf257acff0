"""Follow the perturbed leader: the noise does what a regularizer does."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.totals import Totals, mixed
from rmft_verl.types import Observation, Reply

DRAWS = 1000
"""Perturbations a round: each share is off by at most 1/63 in standard deviation."""


def noise(horizon: int) -> float:
    """sqrt(T) / 2, the standard deviation of a perturbation: balances the terms of the bound for rewards in [0, 1]."""
    return math.sqrt(horizon) / 2


class FTPL:
    """The share of each action: how often it leads when Gaussian noise is added to the past reward sums, in 1000 draws.

    An action of these games is a distribution, so the policy is the expectation over the noise, estimated, and not the
    leader of one draw; the noise is drawn anew every round. The expected external regret of the exact expectation is
    at most sqrt(2 T log K) for rewards in [0, 1] (Abernethy et al. 2014).
    """

    name = "ftpl"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._totals = Totals()

    async def act(self, observation: Observation) -> Reply:
        self._totals.see(observation)
        n_actions = observation.spec.n_actions
        noise_D_A = noise(observation.spec.horizon) * self._rng.standard_normal((DRAWS, n_actions))
        leaders_D = (self._totals.sums_A + noise_D_A).argmax(axis=1)
        return mixed(np.bincount(leaders_D, minlength=n_actions) / DRAWS)
