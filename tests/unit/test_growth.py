from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.eval.metrics import Interval, growth, regression_test, trend_test
from rmft_verl.eval.metrics.growth import growth_of, late_excess

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
T = np.arange(1, 101)


def curve_with_falls(falls: int, steps: int) -> np.ndarray:
    """A cumulative curve whose average falls in the first ``falls`` steps and rises in the others."""
    average = np.cumsum([100.0] + [-1.0] * falls + [1.0] * (steps - falls))
    return np.asarray(average * np.arange(1, steps + 2))


@pytest.mark.parametrize(
    ("falls", "steps", "p"),
    [
        (17, 24, 0.0319573), (16, 24, 0.0757948),  # T = 25
        (31, 49, 0.0427166), (30, 49, 0.0762039),  # T = 50
        (59, 99, 0.0349503), (58, 99, 0.0536758),  # T = 100
        (0, 24, 1.0), (24, 24, 2.0**-24), (1, 2, 0.75),
    ],
)  # fmt: skip
def test_p_trend_is_the_binomial_tail(falls: int, steps: int, p: float) -> None:
    found = trend_test(curve_with_falls(falls, steps))
    assert (found.falls, found.steps) == (falls, steps)
    assert found.p == pytest.approx(p, abs=1e-7)


def test_p_trend_of_long_games_is_computed_exactly() -> None:
    assert trend_test(curve_with_falls(1999, 1999)).p == 2.0**-1999  # 0.0: below the smallest float
    assert trend_test(curve_with_falls(1000, 1999)).p == pytest.approx(0.5)


def test_linear_regret_does_not_fall_by_rounding() -> None:
    assert trend_test(np.cumsum(np.full(100, 0.1))) == (0, 99, 1.0)


def test_slope_and_interval_of_a_worked_curve() -> None:
    # log R = 0, log 2, log 2, log 4 over log t = 0, log 2, log 3, log 4: slope 0.88628, standard error 0.22449,
    # t quantile with 2 degrees of freedom 4.30265.
    found = regression_test(np.array([1.0, 2.0, 2.0, 4.0]))
    assert found.slope == pytest.approx(0.886275, abs=1e-6)
    assert (found.low, found.high) == pytest.approx(
        (0.886275 - 4.302653 * 0.224490, 0.886275 + 4.302653 * 0.224490), abs=1e-5
    )
    assert found.p_reg == pytest.approx(0.058578, abs=1e-6)
    assert found.p_below_one == pytest.approx(0.331384, abs=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.5])
def test_the_slope_is_the_power_of_t(power: float) -> None:
    assert regression_test(0.3 * T**power).slope == pytest.approx(power)


def test_p_reg_does_not_ask_whether_regret_is_sublinear() -> None:
    linear, root = regression_test(1.0 * T), regression_test(np.sqrt(T))
    assert linear.p_reg < 1e-100 and root.p_reg < 1e-100
    assert linear.p_below_one == pytest.approx(0.5, abs=0.01) and root.p_below_one < 1e-100


def test_regret_that_is_not_positive_has_the_logarithm_minus_10() -> None:
    # log t = 0, log 2, log 3 and log R = -10, -10, 0: the slope is 10 x 0.501359 / 0.617250.
    assert regression_test(np.array([-3.0, 0.0, 1.0])).slope == pytest.approx(8.12223, abs=1e-4)
    assert regression_test(np.zeros(5)).slope == pytest.approx(0.0, abs=1e-9)


def test_short_curves_are_refused() -> None:
    with pytest.raises(ValueError, match="the curve has 1"):
        trend_test(np.ones(1))
    with pytest.raises(ValueError, match="the curve has 2 rounds"):
        regression_test(np.ones(2))


def test_four_signs_have_to_agree() -> None:
    size_S = np.linspace(0.5, 1.5, 20)[:, None]
    linear, root, log = size_S * T, size_S * np.sqrt(T), size_S * np.log(T + 1)
    found = growth_of(root, linear)
    assert found.against_uniform == pytest.approx((-0.5, -0.5, -0.5))
    assert (found.regression.slope, found.uniform_slope) == pytest.approx((0.5, 1.0))
    assert found.late.low > 0 and not found.sublinear  # sqrt(T) fades too slowly to be told from linear regret
    found = growth_of(log, linear)
    assert found.sublinear
    assert not growth_of(linear, linear).sublinear
    assert not growth_of(log, log).sublinear  # as slow as uniform play: nothing can be told from it
    late = found._replace(trend=trend_test(curve_with_falls(58, 99)))
    wide = found._replace(regression=found.regression._replace(high=1.01))
    unsure = found._replace(against_uniform=Interval(-0.5, -1.01, 0.01))
    stays = found._replace(late=Interval(-0.01, -0.03, 0.01))
    assert not late.sublinear and not wide.sublinear and not unsure.sublinear and not stays.sublinear


def test_a_player_that_improves_once_and_then_stays_passes_the_published_tests_only() -> None:
    size_S = np.linspace(0.5, 1.5, 20)[:, None]
    once = size_S * np.where(T <= 20, T, 20 + (T - 20) / 2)
    found = growth_of(once, size_S * T)
    assert found.trend.p < 1e-9 and found.regression.high < 1 and found.against_uniform.high < 0
    # From round 26 on every scenario pays half of its size per round: (1 - 0.63) / 2, and sizes average 1.
    assert found.late.value == pytest.approx(0.18502, abs=1e-5) and found.late.low > 0.14
    assert not found.sublinear


def test_late_excess_of_worked_curves() -> None:
    # 8 rounds: the last half costs (15 - 11) / 4 = 1 a round, rounds 3 and 4 (11 - 5) / 2 = 3: 1 - 0.62996 x 3.
    assert late_excess(np.array([2.0, 5, 9, 11, 12, 13, 14, 15])) == pytest.approx(-0.88988, abs=1e-5)
    assert late_excess(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.37004, abs=1e-5)  # the half before is round 1
    assert late_excess(np.array([[4.0, 4, 4, 4], [0.0, 0, 0, 2]])) == pytest.approx([0.0, 1.0])


def test_one_scenario_shows_nothing_and_no_regret_needs_no_test() -> None:
    assert not growth_of(np.log(T)[None], T[None] * 1.0).sublinear
    assert growth_of(np.zeros((3, 100)), np.tile(1.0 * T, (3, 1))).sublinear


def test_growth_is_that_of_the_mean_curve_over_scenarios() -> None:
    # Always the worse arm in one scenario, always the better in the other: mean curve t / 2, as of uniform play.
    plays = [toy_trajectory([0.0, 1.0], [arm] * 10, context=str(arm)) for arm in (0, 1)]
    found = growth([*plays, plays[0]])
    assert found.regression.slope == pytest.approx(1.0) and found.uniform_slope == pytest.approx(1.0)
    assert found.final == pytest.approx(5.0)
    assert found.trend == (0, 9, 1.0) and not found.sublinear
    with pytest.raises(ValueError, match="horizons 2, 10"):
        growth([*plays, toy_trajectory([0.0, 1.0], [0, 1])])


@pytest.fixture(scope="module")
def growth_tests() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        yield importlib.import_module("growth_tests")


@pytest.mark.parametrize(("horizon", "repeats"), [(25, 6), (100, 2)])
def test_uniform_play_on_gap_sequences_is_not_called_sublinear_and_hedge_is(
    growth_tests: ModuleType, horizon: int, repeats: int
) -> None:
    gap = growth_tests.CASES[0]
    assert gap.name == growth_tests.GAP
    found = growth_tests.growths(gap, horizon, repeats, n_scenarios=50, seed=0)
    assert growth_tests.complaints(gap.name, horizon, found) == []
    swapped = {"uniform": found["hedge"], "hedge": found["uniform"]}
    assert len(growth_tests.complaints(gap.name, horizon, swapped)) >= (5 if horizon == 100 else 3)


def test_linear_regret_after_an_improvement_is_not_called_sublinear_and_ucb1_and_thompson_are(
    growth_tests: ModuleType,
) -> None:
    hard = growth_tests.CASES[-1]
    assert hard.name == growth_tests.HARD
    found = growth_tests.growths(hard, 400, repeats=1, n_scenarios=200, seed=0)
    assert {player: growth.sublinear for player, (growth,) in found.items()} == {
        "greedy": False, "eps_greedy": False, "ucb1": True, "thompson": True,
    }  # fmt: skip
    for player in ("greedy", "eps_greedy"):  # the published tests cannot tell
        (growth,) = found[player]
        assert growth.trend.p < 0.05 and growth.regression.high < 1 and growth.against_uniform.high < 0
    assert growth_tests.complaints(hard.name, 400, found) == []
