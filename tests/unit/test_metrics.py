from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.env.regret import score
from rmft_verl.eval import metrics
from rmft_verl.types import Action, Oracle, StopReason, Trajectory

TWO = (0.0, 1.0)
"""Means of two arms: each pull of arm 0 costs 1, uniform play costs T / 2."""


def unscored(trajectory: Trajectory) -> Trajectory:
    return dataclasses.replace(trajectory, regret=None)


def told(rewards: list[list[float]], actions: list[Action], kind: str = "external", context: str = "a") -> Trajectory:
    """A scored play in which the oracle is ``rewards``, by default a full-information game's."""
    played = toy_trajectory([0.0] * len(rewards[0]), actions, horizon=len(rewards), context=context)
    return score(dataclasses.replace(played, oracle=Oracle(np.array(rewards), kind)))


TOLD = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
"""Action 1 is the best fixed action and earns 2 of 3; uniform play earns 1.5; switching along earns 3."""
FIXED: list[Action] = [(0.0, 1.0)] * 3
EVEN: list[Action] = [(0.5, 0.5)] * 3
ALONG: list[Action] = [(1.0, 0.0), (0.0, 1.0), (0.0, 1.0)]


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


def test_suffix_failures_have_an_interval_over_scenarios() -> None:
    words = ["00", "01", "00", "01"]
    plays = [toy_trajectory([0.0, 1.0], [int(a) for a in w], context=str(i)) for i, w in enumerate(words * 10)]
    found = metrics.suffix_failure_interval([*plays, *plays])  # each scenario twice: no more is known of scenarios
    assert found.value == metrics.suffix_failure_frequency(plays) == 0.5
    assert found.low == pytest.approx(0.5 - 1.96 * (0.25 / 40) ** 0.5, abs=0.03)
    assert found.high == pytest.approx(0.5 + 1.96 * (0.25 / 40) ** 0.5, abs=0.03)
    assert np.isnan(metrics.suffix_failure_interval([]).value)


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


TIED = ([0, 0, 0, 1, 1, 1, 1, 0], [0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.2, 0.2])
"""Before round 7 both arms have the average 0.2, as sums 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 that differ as floats, and
before round 8 both have it after three and four pulls."""


def test_the_order_of_summation_breaks_no_tie() -> None:
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert metrics.greedy_choices(toy_trajectory((0.2, 0.2), *TIED)) == [True] * 8
    mirrored = [1 - arm for arm in TIED[0]]
    assert metrics.greedy_choices(toy_trajectory((0.2, 0.2), mirrored, TIED[1])) == [True] * 8
    nearly = [*TIED[1][:6], 0.2001, 0.2]
    assert metrics.greedy_choices(toy_trajectory((0.2, 0.2), TIED[0], nearly))[-1] is False


def test_best_arms_may_tie_up_to_rounding() -> None:
    assert not metrics.suffix_failure(toy_trajectory((0.1 + 0.2, 0.3), [1, 1]))
    assert metrics.best_arm_mass(toy_trajectory((0.1 + 0.2, 0.3), [1, 0])).tolist() == [1, 1]


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


def test_equal_arms_have_no_median_reward() -> None:
    equal = toy_trajectory([0.5, 0.5], [0, 1], [1.0, 1.0])
    assert np.isnan(metrics.median_reward([equal]))
    assert metrics.median_reward([equal, toy_trajectory([0.2, 0.6], [0, 1], [0.2, 0.2])]) == pytest.approx(0.0)
    assert np.isnan(metrics.median_reward([toy_trajectory(TWO, [], horizon=2, stop=StopReason.LENGTH)]))


def test_median_reward_of_drifting_arms_is_on_the_scale_of_the_rounds_played() -> None:
    drift = [[0.0, 0.4], [1.0, 0.0], [9.0, 0.0]]
    played = dataclasses.replace(
        toy_trajectory(TWO, [1, 0], [0.4, 0.3], horizon=3), oracle=Oracle(np.array(drift), "dynamic")
    )
    assert metrics.median_reward([played]) == pytest.approx(0.7 / 1.4)


def test_coverage_counts_the_arms_tried_so_far() -> None:
    played = toy_trajectory([0.1, 0.2, 0.3], [0, 0, 2, 1])
    assert metrics.coverage_curve(played) == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])
    stuck = toy_trajectory([0.1, 0.2, 0.3], [0, 0, 0], horizon=4)
    assert metrics.action_coverage([played, stuck]) == pytest.approx((1 + 1 / 3) / 2)
    assert metrics.action_coverage([played, stuck], t=3) == pytest.approx((2 / 3 + 1 / 3) / 2)


@pytest.mark.parametrize("t", [0, 5])
def test_a_round_outside_the_game_is_refused(t: int) -> None:
    played = toy_trajectory(TWO, [0, 1, 0, 1])
    for metric in (metrics.suffix_failure_frequency, metrics.action_coverage):
        with pytest.raises(ValueError, match=f"t={t} is no round of a game of 4"):
            metric([played], t)


def test_best_arm_frequency_of_arms_and_of_policies() -> None:
    assert metrics.best_arm_mass(toy_trajectory(TWO, [1, 0, 1], horizon=4)).tolist() == [1, 0, 1, 0]
    policies = told(TOLD, [(0.5, 0.5), (0.2, 0.8), (1.0, 0.0)])
    assert metrics.best_arm_mass(policies) == pytest.approx([0.5, 0.8, 0.0])  # action 1 is the best fixed one
    assert metrics.best_arm_frequency([toy_trajectory(TWO, [1, 0, 1, 1]), policies]) == pytest.approx(
        (0.75 + 1.3 / 3) / 2
    )


def test_the_best_arm_of_a_drifting_bandit_is_that_of_its_round() -> None:
    assert metrics.best_arm_mass(told(TOLD, [0, 0, 1], kind="dynamic")).tolist() == [1, 0, 1]
    assert metrics.best_arm_mass(told(TOLD, [0, 0, 1], kind="external")).tolist() == [0, 0, 1]


def test_equally_good_fixed_actions_share_the_mass() -> None:
    # 0.1 + 0.2 and 0.3 + 0 differ by rounding only.
    assert metrics.best_arm_mass(told([[0.1, 0.3], [0.2, 0.0]], [(0.4, 0.6), (1.0, 0.0)])).tolist() == [1, 1]


def test_mixtures_have_no_arm_metrics() -> None:
    for metric in (metrics.min_fraction, metrics.suffix_failure, metrics.greedy_choices, metrics.coverage_curve):
        with pytest.raises(ValueError, match="simplex"):
            metric(toy_trajectory(TWO, [(0.5, 0.5)]))


ARM_METRICS = (
    metrics.suffix_failure_frequency,
    metrics.scaled_min_fraction,
    metrics.greedy_fraction,
    metrics.median_reward,
    metrics.action_coverage,
    metrics.action_entropy,
)


@pytest.mark.parametrize("metric", ARM_METRICS)
def test_sets_of_mixed_games_are_judged_by_their_bandits(metric) -> None:
    bandits = [toy_trajectory([0.1, 0.8, 0.5], [1, 1, 0, 2], [1.0, 0.0, 1.0, 0.0])]
    unborn = told(TOLD, [])  # full information, ended before its first round
    failed = dataclasses.replace(bandits[0], oracle=Oracle(np.full((4, 3), np.nan), "none"), regret=None)
    value = metric(bandits)
    assert metric([told(TOLD, EVEN), *bandits, unborn, failed]) == value and np.isfinite(value)
    for none in ([told(TOLD, EVEN), unborn], [failed], []):
        assert np.isnan(metric(none))


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


def test_external_regret_is_normalized_against_the_best_fixed_action() -> None:
    assert metrics.normalized_regret([told(TOLD, FIXED)]) == 0.0
    assert metrics.normalized_regret([told(TOLD, EVEN)]) == pytest.approx(1.0)
    assert metrics.normalized_regret([told(TOLD, ALONG)]) == pytest.approx(-2.0)  # -1 / 0.5


def test_a_scenario_without_stakes_widens_the_ratio_but_does_not_break_it() -> None:
    even = [[1.0, 0.0], [0.0, 1.0]]
    idle = told(even, [(0.0, 1.0), (1.0, 0.0)], context="b")  # regret 1, uniform regret 0
    assert metrics.normalized_regret([told(TOLD, FIXED), idle]) == pytest.approx(1 / 0.5)
    value, low, high = metrics.normalized_regret_interval([told(TOLD, FIXED), idle])
    assert value == pytest.approx(2.0) and np.isnan(low) and np.isnan(high)  # one resample in four holds idle alone
    with pytest.raises(ValueError, match="uniform play has no regret in any scenario"):
        metrics.normalized_regret([idle])


def test_rounding_is_no_scale() -> None:
    # 20 rounds of 0.1 and of 0.1 in another order of summation: uniform regret is 1e-16, not 0.
    nearly = told([[0.1, 0.1 + 1e-15]] * 20, [(1.0, 0.0)] * 20)
    with pytest.raises(ValueError, match="equally good"):
        metrics.normalized_regret([nearly])


def test_mean_curves_count_each_scenario_once() -> None:
    often = [toy_trajectory(TWO, [0, 0])] * 3  # 1, 2
    once = toy_trajectory(TWO, [1, 0], context="other")  # 0, 1
    assert metrics.regret_band([*often, once]).value_T == pytest.approx([0.5, 1.5])
    assert metrics.regret_band([told(TOLD, ALONG)]).value_T == pytest.approx([0, -1, -1])
    with pytest.raises(ValueError, match="horizons 2, 3"):
        metrics.regret_band([once, toy_trajectory(TWO, [0, 0, 0])])


def test_the_band_is_the_interval_of_each_round() -> None:
    # Half of 200 scenarios have the curve 1, 2 and half 0, 0: standard errors 0.5 / sqrt(200) and 1 / sqrt(200).
    plays = [toy_trajectory(TWO, [0, 0] if i % 2 else [1, 1], context=str(i)) for i in range(200)]
    band = metrics.regret_band(plays)
    assert band.value_T == pytest.approx([0.5, 1.0])
    assert band.low_T == pytest.approx([0.5 - 1.96 * 0.0354, 1 - 1.96 * 0.0707], abs=0.015)
    assert band.high_T == pytest.approx([0.5 + 1.96 * 0.0354, 1 + 1.96 * 0.0707], abs=0.015)
    assert np.isnan(metrics.regret_band(plays[:1]).low_T).all()


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


def test_a_change_from_no_regret_is_absolute() -> None:
    # Two scenarios each: regret 0 (fixed) or 0.5 (even) or -1 (along), uniform regret 0.5.
    def plays(a: list[Action], b: list[Action]) -> list[Trajectory]:
        return [told(TOLD, a), told(TOLD, b, context="b")]

    fixed, along, even = plays(FIXED, FIXED), plays(ALONG, ALONG), plays(EVEN, EVEN)
    for before in (fixed, along):
        with pytest.raises(ValueError, match=r"not above 0\. Use absolute_change"):
            metrics.relative_change(before, even)
    assert metrics.absolute_change(fixed, even) == pytest.approx((1.0, 1.0, 1.0))
    assert metrics.absolute_change(even, along) == pytest.approx((-3.0, -3.0, -3.0))
    value, low, high = metrics.relative_change(plays(FIXED, EVEN), along)
    assert value == pytest.approx(-2.0 / 0.5 - 1) and np.isnan(low) and np.isnan(high)
