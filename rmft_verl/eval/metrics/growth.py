"""Does regret grow slower than the number of rounds? The two tests of Park et al. 2025 on mean regret curves.

Park, Liu, Ozdaglar and Zhang (Do LLM agents have regret?), their section on validating sublinear regret. What the tests
can and cannot show, with numbers, is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np

from rmft_verl.eval.metrics.intervals import Interval, bootstrap
from rmft_verl.eval.metrics.scale import regret_curves_S_T
from rmft_verl.types import Trajectory

SIGNIFICANCE = 0.05
FLOOR = -10.0
"""Stands for log Regret where it is below: regret that is zero, negative or under 5e-5 reward units."""
ROUNDING = 1e-12
"""Relative to the largest average regret, and in units of logarithms: differences below are rounding."""


class TrendTest(NamedTuple):
    """Of T - 1 steps, how many lower the average regret, and the chance of as many falls by coin flips."""

    falls: int
    steps: int
    p: float


class RegressionTest(NamedTuple):
    """The slope of log regret over log t, with the ordinary-least-squares 95 % interval and tests of its errors."""

    slope: float
    low: float
    high: float
    p_reg: float
    """Two-sided p of slope = 0: tiny for linear regret too."""
    p_below_one: float
    """One-sided p of slope >= 1."""


class Growth(NamedTuple):
    """Both tests of a set's mean curve, and uniform play on the same games beside them."""

    trend: TrendTest
    regression: RegressionTest
    uniform_slope: float
    against_uniform: Interval
    """Slope less the slope of uniform play on the same scenarios, with its bootstrap interval over scenarios."""
    final: float
    """Mean regret after the last round, in reward units."""

    @property
    def sublinear(self) -> bool:
        """The decision rule: there is no regret left, or all of three signs of sublinear growth agree.

        The trend test has p < 0.05, the slope's interval is below 1, and the slope is below that of uniform play on the
        same scenarios by more than its interval. False means not shown, not linear.
        """
        slower = self.regression.high < 1 and self.against_uniform.high < 0
        return self.final <= 0 or (self.trend.p < SIGNIFICANCE and slower)


def trend_test(curve_T: np.ndarray) -> TrendTest:
    """Trend-checking of a cumulative regret curve, shape (T,).

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
    """Ordinary least squares log Regret(t) = slope log t + constant over t = 1..T, of a curve of shape (T,).

    log Regret is -10 where the regret is 0, negative or smaller. ``ValueError`` for a T below 3. The errors of a
    cumulative curve are correlated, so interval and p-values are far too sure of themselves.
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
    """Both tests on the mean curve over scenarios of the scored plays, and the comparison with uniform play.

    ``ValueError`` if none is scored or if the horizons differ.
    """
    return growth_of(regret_curves_S_T(trajectories), regret_curves_S_T(trajectories, uniform=True), seed)


def growth_of(curves_S_T: np.ndarray, uniform_S_T: np.ndarray, seed: int = 0) -> Growth:
    """``growth`` of each scenario's curve and uniform play's, shape (S, T) both."""
    mean_T, horizon = curves_S_T.mean(axis=0), curves_S_T.shape[1]

    def difference(means: np.ndarray) -> np.ndarray:
        return np.asarray(log_slope(means[..., :horizon]) - log_slope(means[..., horizon:]))

    both_S = np.concatenate([curves_S_T, uniform_S_T], axis=1)
    low, high = bootstrap(both_S, difference, seed)
    against = Interval(float(difference(both_S.mean(axis=0))), float(low), float(high))
    uniform_slope = float(log_slope(uniform_S_T.mean(axis=0)))
    return Growth(trend_test(mean_T), regression_test(mean_T), uniform_slope, against, float(mean_T[-1]))


def log_slope(curves: np.ndarray) -> np.ndarray:
    """The regression's slope of log regret over log t, over the last axis of (..., T), shape (...)."""
    log_t = np.log(np.arange(1, curves.shape[-1] + 1))
    x_T = log_t - log_t.mean()
    return np.asarray(_log(curves) @ x_T / (x_T @ x_T))


def _log(regret: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(regret, np.exp(FLOOR))))
