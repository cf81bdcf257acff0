from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.env.regret import (
    contextual_regret,
    dynamic_regret,
    earned,
    external_regret,
    pseudo_regret,
    regret_curve,
    score,
    uniform_regret,
    variation_budget,
)
from rmft_verl.types import Oracle, StopReason, Trajectory

MEANS_T_A = np.array([[0.2, 0.8], [0.2, 0.8], [0.2, 0.8]])


def test_pseudo_regret_sums_the_gaps_of_the_arms_played() -> None:
    assert pseudo_regret(MEANS_T_A, [0, 1, 0]) == pytest.approx([0.6, 0.6, 1.2])


def test_the_best_arm_has_no_regret() -> None:
    assert pseudo_regret(MEANS_T_A, [1, 1, 1]).tolist() == [0.0, 0.0, 0.0]


def test_a_drifting_game_is_measured_against_the_best_arm_of_each_round() -> None:
    assert pseudo_regret(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.25]]), [1, 1, 1]) == pytest.approx([0, 1, 1.25])


def test_a_contextual_game_is_measured_against_the_best_arm_for_each_context() -> None:
    # Weights (1, 0) and (-1, 2) in the contexts (1, 0), (0, 1) and (1, 1): means (1, -1), (0, 2) and (1, 1).
    means_T_A = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) @ np.array([[1.0, 0.0], [-1.0, 2.0]]).T
    assert means_T_A.tolist() == [[1.0, -1.0], [0.0, 2.0], [1.0, 1.0]]
    assert contextual_regret(means_T_A, [1, 1, 1]) == pytest.approx([2, 2, 2])
    assert contextual_regret(means_T_A, [0, 0, None]) == pytest.approx([0, 2, 2])
    assert uniform_regret(Oracle(means_T_A, "contextual")) == pytest.approx(1 + 1 + 0)


def test_earned_takes_arms_mixtures_and_unplayed_rounds() -> None:
    assert earned(MEANS_T_A, [1, (0.5, 0.5), None]) == pytest.approx([0.8, 0.5, 0.5])
    assert earned(MEANS_T_A, [0, (0.25, 0.75), (1.0, 0.0)]) == pytest.approx([0.2, 0.65, 0.2])


def test_a_wrong_number_of_actions_is_refused() -> None:
    with pytest.raises(ValueError, match="2 actions for a horizon of 3"):
        earned(MEANS_T_A, [0, 1])


def test_unplayed_rounds_count_as_uniform_play() -> None:
    cut_short = toy_trajectory([0.2, 0.8], [1], horizon=3, stop=StopReason.LENGTH)
    assert cut_short.regret == pytest.approx(0 + 0.3 + 0.3)


def test_uniform_regret_is_the_mean_gap_times_the_horizon() -> None:
    assert uniform_regret(Oracle(MEANS_T_A, "pseudo")) == pytest.approx(0.9)
    assert uniform_regret(Oracle(np.array([[0.6, 0.4, 0.4, 0.4, 0.4]] * 100), "pseudo")) == pytest.approx(16.0)


def test_score_fills_in_the_regret_and_keeps_the_rest() -> None:
    bare = dataclasses.replace(toy_trajectory([0.2, 0.8], [0, 1, 0]), regret=None, policy_seed=5)
    scored = score(bare)
    assert scored.regret == pytest.approx(1.2) and bare.regret is None
    assert (scored.turns, scored.policy_seed, scored.scenario) == (bare.turns, 5, bare.scenario)


def test_a_failed_episode_stays_unscored() -> None:
    scenario = toy_trajectory([0.2, 0.8], [0]).scenario
    failed = Trajectory(scenario, "x", (), Oracle(np.full((1, 2), np.nan), "none"), StopReason.ERROR, 0, 0)
    assert score(failed).regret is None


def test_an_unknown_oracle_kind_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="sideways"):
        regret_curve(Oracle(MEANS_T_A, "sideways"), [0, 0, 0])


REVEALED_T_A = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.0]])


def test_external_regret_is_against_the_best_action_so_far() -> None:
    # Cumulative rewards: (1, 0), (1, 1), (1, 2), (1.5, 2). Earned: 0.25, then 0.5, then 1, then 0.
    policies = [(0.25, 0.75), (0.5, 0.5), (0.0, 1.0), (0.0, 1.0)]
    assert external_regret(REVEALED_T_A, policies) == pytest.approx([0.75, 0.25, 0.25, 0.25])


def test_external_regret_of_a_player_that_outruns_every_fixed_action_is_negative() -> None:
    follows = [(1.0, 0.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0)]
    assert external_regret(REVEALED_T_A, follows)[-1] == pytest.approx(2 - 3.5)


def test_dynamic_regret_follows_the_drift() -> None:
    drifting_T_A = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.7]])
    assert dynamic_regret(drifting_T_A, [0, 0, 0]) == pytest.approx([0.0, 0.0, 0.5])
    assert dynamic_regret(drifting_T_A, [1, 0, 1]) == pytest.approx([0.8, 0.8, 0.8])


def test_the_variation_budget_adds_up_the_largest_steps() -> None:
    drifting_T_A = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.7], [0.3, 0.3]])
    assert variation_budget(drifting_T_A) == pytest.approx(0.0 + 0.7 + 0.4)
    assert variation_budget(drifting_T_A[:1]) == 0.0
