from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from toy_bandit import toy_trajectory

from rmft_verl.eval import metrics
from rmft_verl.eval.metrics import Interval, change_tested, two_level
from rmft_verl.types import Trajectory


def mean(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def difference(means: np.ndarray) -> np.ndarray:
    return means[..., 1] - means[..., 0]


def test_the_interval_of_a_mean_is_that_of_the_formulas() -> None:
    # Seeds 0, 3, 6 (variance 9) and scenarios -2, -1, 1, 2 (variance 10 / 3), added up: no noise of single plays.
    table = np.add.outer([0.0, 3.0, 6.0], [-2.0, -1.0, 1.0, 2.0])[..., None]
    found = two_level([table], mean)
    from_seeds, from_scenarios = 9 / 3, 10 / 3 / 4
    variance = from_seeds + from_scenarios
    freedom = variance**2 / (from_seeds**2 / 2 + from_scenarios**2 / 3)
    reach = float(stats.t.ppf(0.975, freedom)) * variance**0.5
    assert found.value == 3.0
    assert found.high - 3.0 == pytest.approx(reach, rel=0.06) == pytest.approx(3.0 - found.low, rel=0.06)


def test_seeds_that_agree_leave_the_noise_of_the_scenarios_and_one_seed_too() -> None:
    scenarios_S = np.random.default_rng(0).normal(size=60)
    alike = two_level([np.tile(scenarios_S, (3, 1))[..., None]], mean)
    single = two_level([scenarios_S[None, :, None]], mean)
    reach = float(stats.t.ppf(0.975, 59)) * scenarios_S.std(ddof=1) / 60**0.5
    for found in (alike, single):
        assert found.high - found.value == pytest.approx(reach, rel=0.05)


def test_what_is_resampled_together_cancels() -> None:
    rng = np.random.default_rng(1)
    table = np.add.outer(rng.normal(size=3), rng.normal(size=30))[..., None]
    sides = [table, table + 1.0]
    assert tuple(two_level(sides, difference)) == pytest.approx((1.0, 1.0, 1.0))
    for same in ({"same_seeds": False}, {"same_scenarios": False}):
        apart = two_level(sides, difference, **same)
        assert apart.low < 0.7 and apart.high > 1.3


def test_a_statistic_far_from_linear_has_at_least_the_smaller_degrees_of_freedom() -> None:
    """Its parts do not add up to its variance: taken as they are they made t infinite."""
    table = np.add.outer([-9.0, 0.2, 0.3], np.linspace(-3.0, 3.0, 12))[..., None]
    found = two_level([table], lambda means: np.maximum(means[..., 0] + 0.5, 0.0))
    assert 0 <= found.high - found.value < stats.t.ppf(0.975, 2) * 9


def test_without_a_second_scenario_or_with_a_nan_there_are_no_bounds() -> None:
    one = two_level([np.ones((3, 1, 1))], mean)
    assert one.value == 1.0 and np.isnan(one.low) and np.isnan(one.high)
    table = np.array([[1.0, 1.0], [1.0, np.nan]])[..., None]
    assert np.isnan(two_level([table], mean).low)


@pytest.mark.parametrize(("seeds", "scenarios", "plays"), [(0.0, 1.0, 1.0), (0.3, 1.0, 1.0), (1.0, 0.3, 1.0)])
def test_three_seeds_cover_the_truth_as_often_as_promised(seeds: float, scenarios: float, plays: float) -> None:
    covered = 0
    for repeat in range(150):
        rng = np.random.default_rng(repeat)
        effects = np.add.outer(seeds * rng.normal(size=3), scenarios * rng.normal(size=20))
        found = two_level([(effects + plays * rng.normal(size=(3, 20)))[..., None]], mean, seed=repeat)
        covered += found.low <= 0.0 <= found.high
    assert 0.89 <= covered / 150 <= 1.0  # 95 % give 0.95 +- 0.018; percentiles of three seeds would cover 75 % at most


@pytest.mark.parametrize("plays", [1, 8])
def test_one_draw_of_the_base_that_all_seeds_share_is_in_the_interval(plays: int) -> None:
    covered, widths = 0, []
    for repeat in range(150):
        rng = np.random.default_rng(repeat)
        scenarios_S = rng.normal(size=20)
        base_S = scenarios_S + rng.normal(size=(plays, 20)).mean(axis=0)  # luck of plays alone: the truth is 0
        sides = [np.tile(base_S, (3, 1))[..., None], (scenarios_S + 0.1 * rng.normal(size=(3, 20)))[..., None]]
        found = two_level(sides, difference, seed=repeat)
        covered += found.low <= 0.0 <= found.high
        widths.append(found.high - found.low)
    assert 0.89 <= covered / 150 <= 1.0
    expected = 2 * stats.t.ppf(0.975, 19) * ((1 / plays + 0.01 / 3) / 20) ** 0.5
    assert np.mean(widths) == pytest.approx(expected, rel=0.1)


def test_p_is_that_of_the_interval() -> None:
    table = np.random.default_rng(3).normal(size=(3, 40, 1))
    (found, p) = metrics.two_level_tested([table], mean)
    reach = found.high - found.value
    for shift, below in ((1.02 * reach, True), (0.98 * reach, False)):
        moved, p = metrics.two_level_tested([table - found.value + shift], mean)
        assert moved.value == pytest.approx(shift) and (p < 0.05) == below == (moved.low > 0)
    assert metrics.two_level_tested([np.ones((2, 3, 1))], mean)[1] == 0.0
    assert np.isnan(metrics.two_level_tested([np.ones((3, 1, 1))], mean)[1])


def test_holm_is_the_step_down_rule() -> None:
    nan = float("nan")
    found = metrics.holm([0.04, nan, 0.01, 0.03])  # 3 x 0.01; 2 x 0.03; the last is not below those before it
    assert found[:1] + found[2:] == pytest.approx([0.06, 0.03, 0.06]) and np.isnan(found[1])
    assert metrics.holm([0.5, 0.9]) == [1.0, 1.0] and metrics.holm([]) == []


# ---- change of regret -----------------------------------------------------------------------------------------------


def games(pulls: str) -> list[Trajectory]:
    """A play of two rounds for each word, in a scenario each: ``01`` pulls the bad arm, then the good one."""
    words = pulls.split()
    return [toy_trajectory([0.0, 1.0], [int(arm) for arm in w], context=str(i)) for i, w in enumerate(words)]


def change(before: Any, after: Any, **options: bool) -> Interval:
    return change_tested(before, after, **options)[0]


BEFORE = [games("00 01 00 01"), games("00 01 00 00")]
AFTER = [games("01 01 00 11"), games("01 11 01 01")]


def test_the_change_is_that_of_all_plays_pooled() -> None:
    pooled = [[play for plays in side for play in plays] for side in (BEFORE, AFTER)]
    found = change(BEFORE, AFTER)
    assert found.value == pytest.approx(metrics.relative_change(*pooled).value) == pytest.approx(7 / 13 - 1)
    assert found.low < found.value < found.high
    plain = change(BEFORE, AFTER, relative=False)
    assert plain.value == pytest.approx((7 - 13) / 8)  # uniform play costs 1 in each of 8 games


def test_one_seed_of_many_scenarios_is_the_bootstrap_over_scenarios() -> None:
    rng = np.random.default_rng(2)
    before, after = (games(" ".join("".join(map(str, rng.integers(0, 2, 4))) for _ in range(80))) for _ in range(2))
    known, found = metrics.relative_change(before, after), change([before], [after])
    assert found.value == pytest.approx(known.value)
    assert found.high - found.low == pytest.approx(known.high - known.low, rel=0.1)


def test_a_scenario_not_scored_in_some_seed_is_left_out_everywhere() -> None:
    broken = games("01 01 00 11")
    failed = Trajectory(broken[2].scenario, "p", (), broken[2].oracle, broken[2].stop_reason, 0, 0, error="x")
    found = change(BEFORE, [[broken[0], broken[1], failed, broken[3]], AFTER[1]])
    assert found.value == pytest.approx((1 + 1 + 0 + 1 + 0 + 1) / (2 + 1 + 1 + 2 + 1 + 2) - 1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="different scenarios"):
        change(BEFORE, [games("01 01 00"), games("01 01 00")])
    assert change(BEFORE, [games("01 01 00")] * 2, same_scenarios=False).value == pytest.approx(4 / 3 / 13 * 8 - 1)
    with pytest.raises(ValueError, match="not above 0"):
        change([games("11 11")] * 2, [games("01 11")] * 2)
    with pytest.raises(ValueError, match="no regret in any scenario"):
        idle = [toy_trajectory([0.5, 0.5], [0, 1])]
        change([idle], [idle])
