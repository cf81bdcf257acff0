"""Uncertainty of estimates: bootstrap over whole scenarios."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from rmft_verl.types import Trajectory

RESAMPLES = 2000
"""Bootstrap resamples: the Monte-Carlo error of a 2.5 % quantile is then about a tenth of the standard error."""

FEW = 50
"""With fewer scenarios a 95 % percentile interval covers the truth clearly less often than in 95 % of cases."""


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval.

    ``low`` and ``high`` are NaN with one scenario, or if a resample brings the denominator of a ratio to 0.
    """

    value: float
    low: float
    high: float


UNKNOWN = float("nan")
NO_INTERVAL = Interval(UNKNOWN, UNKNOWN, UNKNOWN)


def few_scenarios(counts: Collection[int]) -> str:
    """A warning line if an interval rests on fewer than ``FEW`` scenarios; ``counts``: of each interval; else empty."""
    least = min(counts, default=FEW)
    return f"intervals rest on {least} scenarios, fewer than {FEW}: they are too narrow" if least < FEW else ""


Number = TypeVar("Number")


def value_or(
    unknown: Number, measure: Callable[[Sequence[Trajectory]], Number], trajectories: Sequence[Trajectory]
) -> Number:
    """``measure(plays)``; ``unknown`` if it raises ``ValueError``: none is scored, or all actions are equally good."""
    try:
        return measure(trajectories)
    except ValueError:
        return unknown


class Band(NamedTuple):
    """A curve with its pointwise 95 % bootstrap interval, shape (T,) each; NaN bounds for one scenario."""

    value_T: np.ndarray
    low_T: np.ndarray
    high_T: np.ndarray


def bootstrap(
    values_S: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of ``statistic(mean over scenarios of values_S)`` under resampling of whole scenarios.

    ``values_S``: shape (S, C), one row per scenario, already averaged over its episodes (they share a game, so they are
    not independent samples). ``statistic`` maps the last axis of (..., C). Returns (low, high), NaN if S is 1 or if the
    statistic of any resample is NaN. Efron and Tibshirani 1993, chapter 13.
    """
    n_scenarios = len(values_S)
    rng = np.random.default_rng(seed)
    weights_B_S = rng.multinomial(n_scenarios, np.full(n_scenarios, 1 / n_scenarios), size=RESAMPLES) / n_scenarios
    low, high = np.quantile(statistic(weights_B_S @ values_S), (0.025, 0.975), axis=0)
    if n_scenarios == 1:  # all resamples are equal, so a zero width says nothing
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, NaN where ``below`` is not above 0 and so gives no scale."""
    return np.asarray(np.divide(above, below, out=np.full_like(below, np.nan, dtype=float), where=below > 0))
