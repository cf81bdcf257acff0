from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import ToyBandit, toy_scenario, toy_trajectory

from rmft_verl import metrics
from rmft_verl.evaluate import evaluate_players
from rmft_verl.types import Oracle, StopReason, Trajectory

TWO = (0.0, 1.0)
"""Means of two arms: each pull of arm 0 costs 1, uniform play costs T / 2."""


def unscored(trajectory: Trajectory) -> Trajectory:
    return dataclasses.replace(trajectory, regret=None)


# ---- behavior -------------------------------------------------------------------------------------------------------


def test_a_suffix_failure_is_the_best_arm_missing_from_round_t_on() -> None:
    # T = 6, so the suffix is rounds 3..6 counted from 1.
    assert not metrics.suffix_failure(toy_trajectory(TWO, [0, 0, 1, 0, 0, 0]))
    assert metrics.suffix_failure(toy_trajectory(TWO, [1, 1, 0, 0, 0, 0]))


def test_the_suffix_starts_where_it_is_told_to() -> None:
    played = toy_trajectory(TWO, [1, 0, 1, 0, 0, 0])
    assert [metrics.suffix_failure(played, t) for t in (1, 2, 3, 4, 5, 6)] == [False, False, False, True, True, True]


def test_one_round_is_its_own_suffix() -> None:
    assert metrics.suffix_failure(toy_trajectory(TWO, [0]))
    assert not metrics.suffix_failure(toy_trajectory(TWO, [1]))


def test_any_of_several_best_arms_will_do() -> None:
    assert not metrics.suffix_failure(toy_trajectory([0.7, 0.2, 0.7], [1, 1, 1, 2]))
    assert metrics.suffix_failure(toy_trajectory([0.7, 0.2, 0.7], [0, 1, 1, 1], context="x"), t=2)


def test_a_drifting_best_arm_is_judged_round_by_round() -> None:
    played = toy_trajectory(TWO, [0, 0, 0, 0])
    drifting = Oracle(np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.4, 0.0]]), "pseudo")
    assert metrics.suffix_failure(played)
    assert not metrics.suffix_failure(dataclasses.replace(played, oracle=drifting))


def test_rounds_not_played_choose_nothing() -> None:
    cut_short = toy_trajectory(TWO, [1, 0], horizon=4, stop=StopReason.LENGTH)
    assert metrics.suffix_failure(cut_short)
    assert metrics.min_fraction(cut_short) == 0.25


def test_suffix_failure_frequency_is_a_share() -> None:
    plays = [toy_trajectory(TWO, actions) for actions in ([0, 0], [0, 1], [1, 1], [1, 0])]
    assert metrics.suffix_failure_frequency(plays) == 0.25  # T = 2: the suffix is rounds 1..2
    assert metrics.suffix_failure_frequency(plays, t=2) == 0.5


def test_min_fraction_is_the_share_of_the_least_pulled_arm() -> None:
    played = toy_trajectory([0.1, 0.2, 0.3], [0, 0, 0, 1, 1, 2, 0, 0, 0, 0])
    assert metrics.min_fraction(played) == pytest.approx(0.1)
    assert metrics.min_fraction(toy_trajectory([0.1, 0.2, 0.3], [0, 1])) == 0.0
    # 3 arms x 0.1 and 2 arms x 0.5
    assert metrics.scaled_min_fraction([played, toy_trajectory(TWO, [0, 1])]) == pytest.approx((0.3 + 1.0) / 2)


def test_greedy_choices_count_new_arms_and_ties_as_greedy() -> None:
    played = toy_trajectory([0.5, 0.5, 0.5], [0, 1, 0, 1, 0, 2], [1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    # new; new; mean 1 against 0; mean 0 against 1/2: not greedy; 1/2 against 1/2: a tie; new.
    assert metrics.greedy_choices(played) == [True, True, True, False, True, True]
    assert metrics.greedy_fraction([played]) == pytest.approx(5 / 6)


def test_greedy_fraction_is_over_rounds_played() -> None:
    four = toy_trajectory(TWO, [0, 1, 0, 0], [0.0, 1.0, 0.0, 0.0])  # greedy in the first two rounds
    one = toy_trajectory(TWO, [0], horizon=4, stop=StopReason.LENGTH)
    assert metrics.greedy_fraction([four, one]) == pytest.approx(3 / 5)


def test_negative_rewards_have_a_greedy_arm_too() -> None:
    assert metrics.greedy_choices(toy_trajectory(TWO, [0, 1, 0], [-3.0, -1.0, 0.0])) == [True, True, False]


def test_median_reward_puts_the_worst_arm_at_0_and_the_best_at_1() -> None:
    means = [0.2, 0.6]
    plays = [toy_trajectory(means, [0, 1], rewards) for rewards in ([0.2, 0.2], [0.6, 0.6], [0.3, 0.5])]
    assert metrics.median_reward(plays) == pytest.approx(0.5)
    assert metrics.median_reward(plays[:1]) == pytest.approx(0.0)


def test_rates_are_shares_of_replies() -> None:
    plays = [toy_trajectory(TWO, [0, 1, 1]), toy_trajectory(TWO, [1], parsed=False, cut=True)]
    assert metrics.invalid_rate(plays) == 0.25
    assert metrics.cut_rate(plays) == 0.25
    assert np.isnan(metrics.invalid_rate([toy_trajectory(TWO, [], horizon=2, stop=StopReason.LENGTH)]))


def test_mixtures_have_no_arm_metrics() -> None:
    with pytest.raises(ValueError, match="simplex"):
        metrics.min_fraction(toy_trajectory(TWO, [(0.5, 0.5)]))


# ---- regret ---------------------------------------------------------------------------------------------------------


def test_normalized_regret_is_a_ratio_of_sums() -> None:
    large = toy_trajectory([0.0, 1.0], [0, 1])  # regret 1, uniform 1
    small = toy_trajectory([0.0, 0.1], [0, 0])  # regret 0.2, uniform 0.1
    assert metrics.normalized_regret([large]) == pytest.approx(1.0)
    assert metrics.normalized_regret([small]) == pytest.approx(2.0)
    assert metrics.normalized_regret([large, small]) == pytest.approx(1.2 / 1.1)
    assert metrics.mean_regret([large, small]) == pytest.approx(0.6)


def test_the_scale_runs_from_the_oracle_to_uniform_play() -> None:
    assert metrics.normalized_regret([toy_trajectory(TWO, [1, 1, 1])]) == 0.0
    assert metrics.normalized_regret([toy_trajectory(TWO, [], horizon=5, stop=StopReason.LENGTH)]) == 1.0


def test_each_scenario_counts_once_however_often_it_was_played() -> None:
    often = [toy_trajectory(TWO, actions) for actions in ([0, 0], [0, 0], [0, 1])]  # mean 5/3, uniform 1
    once = toy_trajectory(TWO, [1, 1], context="other")  # 0, uniform 1
    assert metrics.normalized_regret([*often, once]) == pytest.approx(5 / 6)


def test_unscored_trajectories_are_left_out() -> None:
    plays = [toy_trajectory(TWO, [0, 1]), unscored(toy_trajectory(TWO, [0, 0]))]
    assert metrics.normalized_regret(plays) == 1.0
    assert len(metrics.scored(plays)) == 1
    with pytest.raises(ValueError, match="no trajectory has a regret"):
        metrics.normalized_regret(plays[1:])


def test_equal_arms_have_no_normalized_regret() -> None:
    with pytest.raises(ValueError, match="equally good"):
        metrics.normalized_regret([toy_trajectory([0.5, 0.5], [0, 1])])


def test_the_interval_matches_the_normal_approximation() -> None:
    # 200 scenarios, uniform regret 1 each, half with regret 0 and half with 2: standard error 1 / sqrt(200) = 0.0707.
    plays = [toy_trajectory(TWO, [0, 0] if i % 2 else [1, 1], context=str(i)) for i in range(200)]
    value, low, high = metrics.normalized_regret_interval(plays)
    assert value == 1.0
    assert low == pytest.approx(1 - 1.96 * 0.0707, abs=0.015) and high == pytest.approx(1 + 1.96 * 0.0707, abs=0.015)
    assert metrics.normalized_regret_interval(plays) == (value, low, high)
    assert metrics.normalized_regret_interval(plays, seed=1) != (value, low, high)


def test_playing_a_scenario_again_does_not_narrow_the_interval() -> None:
    plays = [toy_trajectory(TWO, [0, 0] if i % 2 else [1, 1], context=str(i)) for i in range(20)]
    assert metrics.normalized_regret_interval(plays * 5) == pytest.approx(metrics.normalized_regret_interval(plays))


def test_one_scenario_has_no_interval() -> None:
    value, low, high = metrics.normalized_regret_interval([toy_trajectory(TWO, [0, 1])] * 10)
    assert value == 1.0 and np.isnan(low) and np.isnan(high)


def test_relative_change_is_paired_by_scenario() -> None:
    # Scenario i has regret 2 x stake before and 1 x stake after: the ratio is 1/2 in every resample.
    before = [toy_trajectory([0.0, 0.1 * stake], [0, 0]) for stake in range(1, 9)]
    after = [toy_trajectory([0.0, 0.1 * stake], [0, 1]) for stake in range(1, 9)]
    assert metrics.relative_change(before, after[::-1]) == pytest.approx((-0.5, -0.5, -0.5))
    assert metrics.relative_change(after, before) == pytest.approx((1.0, 1.0, 1.0))


def test_relative_change_has_the_spread_of_the_pairs() -> None:
    before = [toy_trajectory(TWO, [0, 1], context=str(i)) for i in range(100)]
    after = [toy_trajectory(TWO, [1, 1] if i < 40 else [0, 1], context=str(i)) for i in range(100)]
    value, low, high = metrics.relative_change(before, after)
    # 40 of 100 scenarios fall from 1 to 0: standard error sqrt(0.4 x 0.6 / 100) = 0.049.
    assert value == pytest.approx(-0.4)
    assert low == pytest.approx(-0.4 - 1.96 * 0.049, abs=0.015) and high == pytest.approx(
        -0.4 + 1.96 * 0.049, abs=0.015
    )


def test_relative_change_takes_different_numbers_of_episodes() -> None:
    before = [toy_trajectory(TWO, [0, 0]), toy_trajectory(TWO, [0, 0], context="b")]
    after = [toy_trajectory(TWO, [0, 1])] * 3 + [toy_trajectory(TWO, [0, 1], context="b")]
    assert metrics.relative_change(before, after).value == pytest.approx(-0.5)


def test_relative_change_refuses_other_scenarios() -> None:
    with pytest.raises(ValueError, match="2 scenarios were played before or after, but not both"):
        metrics.relative_change([toy_trajectory(TWO, [0])], [toy_trajectory(TWO, [0], context="other")])


def test_relative_change_leaves_out_a_scenario_that_failed_on_one_side() -> None:
    before = [toy_trajectory(TWO, [0, 0]), toy_trajectory(TWO, [0, 0], context="b")]
    after = [toy_trajectory(TWO, [0, 1]), unscored(toy_trajectory(TWO, [1, 1], context="b"))]
    assert metrics.relative_change(before, after).value == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="no scenario is scored both"):
        metrics.relative_change(before[1:], after[1:])


# ---- published rows -------------------------------------------------------------------------------------------------

HARD, EASY = (0.6, 0.4, 0.4, 0.4, 0.4), (0.75, 0.25, 0.25, 0.25)
PUBLISHED = {
    ("hard", "thompson"): (0.47, 0.01, 0.28, 0.62),
    ("hard", "ucb1"): (0.55, 0.02, 0.18, 0.76),
    ("hard", "greedy"): (0.40, 0.48, 0.05, 1.00),
    ("easy", "thompson"): (0.84, 0.00, 0.14, 0.88),
    ("easy", "ucb1"): (0.88, 0.00, 0.09, 0.94),
    ("easy", "greedy"): (0.92, 0.19, 0.04, 1.00),
}
"""MedianReward, SuffFailFreq(T/2), K x MinFrac, GreedyFrac at T = 100 (Krishnamurthy et al. 2024, 1000 replicates)."""


@pytest.fixture(scope="module")
def replicates() -> dict[tuple[str, str], list[Trajectory]]:
    plays = {}
    for label, means in (("hard", HARD), ("easy", EASY)):
        players = ("thompson", "ucb1", "greedy")
        for name, trajectories in evaluate_players(ToyBandit, players, [toy_scenario(means, 100)], 300, 0).items():
            plays[label, name] = trajectories
    return plays


@pytest.mark.parametrize(("label", "player"), sorted(PUBLISHED))
def test_the_published_rows_are_reproduced(
    replicates: dict[tuple[str, str], list[Trajectory]], label: str, player: str
) -> None:
    plays = replicates[label, player]
    median, suffix, scaled, greedy = PUBLISHED[label, player]
    # Rescaled rewards have a per-run standard deviation of up to 0.35 (hard) and 0.15 (easy), a median 1.25 times the
    # standard error of a mean, and values come in steps of 0.05 and 0.02: three standard errors, plus half a step.
    assert metrics.median_reward(plays) == pytest.approx(median, abs=0.12 if label == "hard" else 0.05)
    # Three standard errors of the difference between a share of 300 and one of 1000, plus the rounding.
    error = 3 * np.sqrt(max(suffix, 0.005) * (1 - suffix) * (1 / 300 + 1 / 1000)) + 0.005
    assert metrics.suffix_failure_frequency(plays) == pytest.approx(suffix, abs=error)
    # Per-run standard deviations below 0.17 and 0.15: three standard errors of the difference, plus the rounding.
    # Without counting new arms as greedy GreedyFrac would be low by K / T = 0.05.
    assert metrics.scaled_min_fraction(plays) == pytest.approx(scaled, abs=0.035)
    assert metrics.greedy_fraction(plays) == pytest.approx(greedy, abs=0.03)
