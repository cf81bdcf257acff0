"""How means drift: a path for every arm, and its variation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def abrupt(redraw: Callable[[], np.ndarray], changes: int, horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Piecewise constant: all means are drawn anew at ``changes`` distinct rounds, uniform over 2..T; shape (T, A)."""
    starts = 1 + rng.permutation(horizon - 1)[:changes]
    phase_T = np.isin(np.arange(horizon), starts).cumsum()
    means_P_A = np.stack([redraw() for _ in range(changes + 1)])
    return np.asarray(means_P_A[phase_T])


def gradual(
    start_A: np.ndarray, step: float, low: float, high: float, horizon: int, rng: np.random.Generator
) -> np.ndarray:
    """Random walks with steps uniform in [-``step``, ``step``], reflected at ``low`` and ``high``; shape (T, A)."""
    steps_T_A = rng.uniform(-step, step, (horizon - 1, len(start_A)))
    free_T_A = np.concatenate([start_A[None], start_A + steps_T_A.cumsum(axis=0)])
    # Folding the line at both ends turns a free walk into the reflected one.
    folded_T_A = (free_T_A - low) % (2 * (high - low))
    return np.asarray(low + np.minimum(folded_T_A, 2 * (high - low) - folded_T_A))


def seasonal(n_arms: int, period: int, low: float, high: float, horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Sines of one ``period`` that fill [``low``, ``high``], each with its own uniform phase; shape (T, A)."""
    angles_T_A = 2 * np.pi * (np.arange(horizon)[:, None] / period + rng.random(n_arms))
    return np.asarray((low + high) / 2 + (high - low) / 2 * np.sin(angles_T_A))


def variation(means_T_A: np.ndarray) -> float:
    """V_T = sum_{t>=2} max_a |mu_t(a) - mu_{t-1}(a)| (Besbes, Gur and Zeevi 2014)."""
    return float(np.abs(np.diff(means_T_A, axis=0)).max(axis=1).sum())


def within_budget(means_T_A: np.ndarray, budget: float, decimals: int) -> np.ndarray:
    """``means_T_A`` rounded to ``decimals``, and shrunk before if its variation is above ``budget``.

    Shrinking pulls every arm towards its own average over the rounds by one common factor. So the arm stays within the
    range of its path, and V_T, which is linear in the factor, is at most the budget and close to it.
    """
    rounded_T_A = np.round(means_T_A, decimals)
    spent, center_A, target = variation(means_T_A), means_T_A.mean(axis=0), budget
    while variation(rounded_T_A) > budget:
        rounded_T_A = np.round(center_A + (means_T_A - center_A) * (target / spent), decimals)
        target = max(target - 10.0**-decimals, 0.0)
    return rounded_T_A
