"""Follow the perturbed leader: noise takes the place of a regularizer."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.totals import Totals, mixed
from rmft_verl.types import Observation, Reply

DRAWS = 1000
"""Perturbations per round; the standard deviation of each share is at most 1/63."""


def noise(horizon: int) -> float:
    """sqrt(T) / 2, the standard deviation of a perturbation: balances the terms of the bound for rewards in [0, 1]."""
    return math.sqrt(horizon) / 2


class FTPL:
    """Gives each action the share of 1000 draws in which it leads, with Gaussian noise added to past reward sums.

    An action of these games is a distribution, so the policy is an estimate of the expectation over the noise, not the
    leader of one draw. The noise is drawn anew every round. The expected external regret of the exact expectation is
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
