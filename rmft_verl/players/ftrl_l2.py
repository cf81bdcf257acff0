"""FTRL with the squared Euclidean norm: scaled reward sums, projected onto the simplex."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.totals import Totals, mixed
from rmft_verl.types import Observation, Reply


def rate(horizon: int, n_actions: int) -> float:
    """(2 / K) sqrt((K - 1) / T): balances the two terms of the bound for rewards in [0, 1] and a known horizon."""
    return 2 / n_actions * math.sqrt((n_actions - 1) / horizon)


def project(point_A: np.ndarray) -> np.ndarray:
    """The point of the simplex nearest to ``point_A``, shape (A,) (Duchi et al. 2008, figure 1).

    It is max(point - shift, 0) with the one shift that makes the entries sum to 1.
    """
    sorted_A = np.sort(point_A)[::-1]
    shifts_A = (np.cumsum(sorted_A) - 1) / np.arange(1, len(point_A) + 1)
    shift = shifts_A[np.flatnonzero(sorted_A > shifts_A)[-1]]
    return np.asarray(np.maximum(point_A - shift, 0.0))


class FTRLL2:
    """Plays the maximizer of <policy, past reward sums> - |policy|^2 / (2 rate): the projection of rate x sums.

    Its external regret is at most sqrt((K - 1) T) / 2 for rewards in [0, 1]: (1 - 1/K) / (2 rate) + rate T K / 8, the
    bound of Orabona 2019 (chapter 7) for rewards centered at 1/2. Centering does not change the policy.
    """

    name = "ftrl_l2"

    def __init__(self, rng: np.random.Generator) -> None:
        self._totals = Totals()

    async def act(self, observation: Observation) -> Reply:
        self._totals.see(observation)
        return mixed(project(rate(observation.spec.horizon, observation.spec.n_actions) * self._totals.sums_A))
