"""Is regret sublinear in the number of rounds? The two tests of Park et al. 2025 on mean regret curves, and ours.

Source: Park, Liu, Ozdaglar and Zhang (Do LLM agents have regret?), section on validating sublinear regret. Both of
their tests look at the whole curve, so a player that improves once and then stays passes them; ours looks at the late
rounds. docs/metrics.md shows with numbers what the tests can and cannot show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from rmft_verl.eval.metrics.intervals import Interval, bootstrap
from rmft_verl.eval.metrics.scale import regret_curves_S_T
from rmft_verl.types import Trajectory

SIGNIFICANCE = 0.05
FLOOR = -10.0
"""Lower bound on log Regret, used where the regret is zero, negative or below 5e-5 reward units."""
FADE = 2 ** (-2 / 3)
"""Regret per round of the last half of a game, relative to the half before it, below which it counts as fading: that of
regret of the order T^(1/3), 0.63. Linear regret has 1, sqrt(T) 0.71, log(T) 0.5."""
ROUNDING = 1e-12
"""Smallest fall of the average regret that counts, relative to its largest value; smallest error of the slope."""


class TrendTest(NamedTuple):
    """How many of the T - 1 steps lower the average regret, and the probability of at least as many by coin flips."""

    falls: int
    steps: int
    p: float


class RegressionTest(NamedTuple):
    """The slope of log regret over log t, with its ordinary-least-squares 95 % interval and p-values."""

    slope: float
    low: float
    high: float
    p_reg: float
    """Two-sided p of slope = 0: tiny for linear regret too."""
    p_below_one: float
    """One-sided p of slope >= 1."""


class Growth(NamedTuple):
    """Both tests of a set's mean curve, a comparison with uniform play on the same games, and the late rounds."""

    trend: TrendTest
    regression: RegressionTest
    uniform_slope: float
    against_uniform: Interval
    """Slope minus the slope of uniform play on the same scenarios, with its bootstrap interval over scenarios."""
    late: Interval
    """``late_excess`` of the mean curve with its bootstrap interval over scenarios; at most 0 if late regret fades."""
    final: float
    """Mean regret after the last round, in reward units."""

    @property
    def sublinear(self) -> bool:
        """The decision rule: the final regret is at most 0, or four signs of sublinear growth agree.

        The trend test has p < 0.05, the slope's interval is below 1, that of ``against_uniform`` is below 0 and that of
        ``late`` is not above 0. False means "not shown", not "linear".
        """
        slower = self.regression.high < 1 and self.against_uniform.high < 0 and self.late.high <= 0
        return self.final <= 0 or (self.trend.p < SIGNIFICANCE and slower)


def trend_test(curve_T: np.ndarray) -> TrendTest:
    """Trend test of a cumulative regret curve, shape (T,).

    s counts the rounds t in 1..T-1 with Regret(t) / t > Regret(t+1) / (t+1), and
    p = 2^-(T-1) sum_{j=s}^{T-1} C(T-1, j). ``ValueError`` for a T below 2.
    """
    steps = len(curve_T) - 1
    if steps < 1:
        raise ValueError(f"the trend test compares rounds; the curve has {len(curve_T)}: give at least 2")
    average_T = curve_T / np.arange(1, steps + 2)
    falls = int((average_T[:-1] - average_T[1:] > ROUNDING * np.abs(average_T).max()).sum())
    return TrendTest(falls, steps, sum(comb(steps, j) for j in range(falls, steps + 1)) / 2**steps)


def regression_test(curve_T: np.ndarray) -> RegressionTest:
    """Least-squares fit of log Regret(t) = slope log t + constant over t = 1..T, for a curve of shape (T,).

    log Regret is at least -10, also where the regret is 0 or negative. ``ValueError`` for a T below 3. The errors of a
    cumulative curve are correlated, so the interval is far too narrow and the p-values are far too small.
    """
    from scipy import stats

    horizon = len(curve_T)
    if horizon < 3:
        raise ValueError(f"the regression test fits a line; the curve has {horizon} rounds: give at least 3")
    log_t = np.log(np.arange(1, horizon + 1))
    x_T, y_T = log_t - log_t.mean(), _log(curve_T)
    slope = float(log_slope(curve_T))
    residual_T = y_T - y_T.mean() - slope * x_T
    error = max(float(np.sqrt((residual_T @ residual_T) / (horizon - 2) / (x_T @ x_T))), ROUNDING)
    law = stats.t(horizon - 2)
    reach = float(law.ppf(0.975)) * error
    p_reg, p_below_one = 2 * float(law.sf(abs(slope) / error)), float(law.cdf((slope - 1) / error))
    return RegressionTest(slope, slope - reach, slope + reach, p_reg, p_below_one)


def growth(trajectories: Sequence[Trajectory], seed: int = 0) -> Growth:
    """Both tests, uniform play's slope and the late rounds, on mean curves over the scenarios of scored trajectories.

    ``ValueError`` if none is scored or if the horizons differ.
    """
    return growth_of(regret_curves_S_T(trajectories), regret_curves_S_T(trajectories, uniform=True), seed)


def growth_of(curves_S_T: np.ndarray, uniform_S_T: np.ndarray, seed: int = 0) -> Growth:
    """``growth`` from the curves of each scenario and of uniform play, both of shape (S, T)."""
    mean_T, horizon = curves_S_T.mean(axis=0), curves_S_T.shape[1]

    def difference(means: np.ndarray) -> np.ndarray:
        return np.asarray(log_slope(means[..., :horizon]) - log_slope(means[..., horizon:]))

    def estimate(values_S: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
        return Interval(float(statistic(values_S.mean(axis=0))), *map(float, bootstrap(values_S, statistic, seed)))

    against = estimate(np.concatenate([curves_S_T, uniform_S_T], axis=1), difference)
    late = estimate(curves_S_T, late_excess)
    uniform_slope = float(log_slope(uniform_S_T.mean(axis=0)))
    return Growth(trend_test(mean_T), regression_test(mean_T), uniform_slope, against, late, float(mean_T[-1]))


def late_excess(curves: np.ndarray) -> np.ndarray:
    """Regret per round of the last half minus ``FADE`` times that of the half before it: (..., T) -> (...).

    The halves are rounds T // 2 + 1 to T and T // 4 + 1 to T // 2 of a cumulative curve of at least 2 rounds; in reward
    units per round. It is at most 0 if regret fades, or if both halves have none; a difference, because early regret
    may be 0.
    """
    horizon = curves.shape[-1]
    half, quarter = horizon // 2, horizon // 4
    start = curves[..., quarter - 1] if quarter else np.zeros(curves.shape[:-1])
    before = (curves[..., half - 1] - start) / (half - quarter)
    return np.asarray((curves[..., -1] - curves[..., half - 1]) / (horizon - half) - FADE * before)


def log_slope(curves: np.ndarray) -> np.ndarray:
    """Regression slope of log regret over log t along the last axis: (..., T) -> (...)."""
    log_t = np.log(np.arange(1, curves.shape[-1] + 1))
    x_T = log_t - log_t.mean()
    return np.asarray(_log(curves) @ x_T / (x_T @ x_T))


def _log(regret: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(regret, np.exp(FLOOR))))
