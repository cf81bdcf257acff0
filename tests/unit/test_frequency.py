from __future__ import annotations

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.eval import metrics
from rmft_verl.eval.metrics import first_action_entropy
from rmft_verl.types import Action, StopReason

THREE = (0.1, 0.5, 0.9)


def test_choices_are_sorted_by_how_often_the_last_action_was_repeated() -> None:
    # Arm 0 pays nothing and is chosen most, arm 1 pays 1: from round 4 on they are the frequent and the greedy arm.
    # Repeats of the last action before rounds 4 to 7: 0, 0, 1, 0; choices: frequent, frequent, greedy, other.
    played = toy_trajectory(THREE, [0, 0, 1, 0, 0, 1, 2], [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    bias = metrics.frequency_bias([played])
    assert bias.rounds_R.tolist() == [3, 1]
    assert bias.frequent_R == pytest.approx([2 / 3, 0])
    assert bias.greedy_R == pytest.approx([0, 1])
    assert bias.other_R == pytest.approx([1 / 3, 0])
    assert bias.entropy_R == pytest.approx([np.log(3) - 2 / 3 * np.log(2), 0])


def test_rounds_in_which_the_frequent_arm_is_the_greedy_one_show_nothing() -> None:
    bias = metrics.frequency_bias([toy_trajectory(THREE, [2, 2, 2, 0], [1.0, 1.0, 1.0, 0.0])])
    assert bias.rounds_R.tolist() == [0, 0, 0]
    assert np.isnan(bias.frequent_R).all() and np.isnan(bias.entropy_R).all()


@pytest.mark.parametrize("first", [0, 1])
def test_an_arm_that_leads_by_rounding_only_does_not_lead(first: int) -> None:
    # Both arms have the average 0.2 before the last round, in sums of different order; arm 0 or 1 is the frequent one,
    # so it is greedy as well and the round shows nothing. Before, in rounds 5 and 6 the rarer arm leads and is chosen.
    arms = [first] * 3 + [1 - first] * 4
    bias = metrics.frequency_bias([toy_trajectory((0.2, 0.2), [*arms, 0], [0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.2, 0.0])])
    assert bias.rounds_R.tolist() == [1, 1, 0, 0]
    assert bias.greedy_R[:2].tolist() == [1.0, 1.0]


def test_entropy_is_within_a_scenario() -> None:
    history, paid = [0, 0, 1], [0.0, 0.0, 1.0]

    def then(arm: int, context: str):
        return toy_trajectory(THREE, [*history, arm], [*paid, 0.0], context=context)

    same = [then(0, "a"), then(0, "a"), then(1, "b"), then(1, "b")]  # each scenario always the same arm
    assert metrics.frequency_bias(same).entropy_R[0] == 0
    assert metrics.frequency_bias(same).frequent_R[0] == 0.5
    mixed = [then(0, "a"), then(1, "a"), then(0, "b"), then(0, "b")]
    assert metrics.frequency_bias(mixed).entropy_R[0] == pytest.approx(np.log(2) / 2)


def test_games_without_arms_have_no_frequency_bias() -> None:
    assert metrics.frequency_bias([toy_trajectory(THREE, [(0.2, 0.3, 0.5)] * 3)]).rounds_R.size == 0
    assert metrics.frequency_bias([toy_trajectory(THREE, [1])]).rounds_R.size == 0


def test_action_entropy_runs_from_one_arm_to_all() -> None:
    assert metrics.action_entropy([toy_trajectory(THREE, [1, 1, 1])]) == 0.0
    assert metrics.action_entropy([toy_trajectory(THREE, [0, 1, 2])]) == pytest.approx(1.0)
    # Two arms of three, evenly: log 2 / log 3.
    assert metrics.action_entropy([toy_trajectory(THREE, [0, 1, 0, 1])]) == pytest.approx(np.log(2) / np.log(3))


def test_the_entropy_of_the_first_action_is_over_trajectories() -> None:
    def first(*actions: Action) -> float:
        return first_action_entropy([toy_trajectory([0.0, 1.0], [action]) for action in actions])

    assert first(0, 1) == pytest.approx(1.0) and first(1, 1, 1) == 0.0
    assert first((0.5, 0.5)) == pytest.approx(1.0) and first((1.0, 0.0), (0.0, 1.0)) == pytest.approx(1.0)
    three = toy_trajectory([0.0, 0.5, 1.0], [2])
    mixed = [toy_trajectory([0.0, 1.0], [0]), toy_trajectory([0.0, 1.0], [1]), three]
    assert first_action_entropy(mixed) == pytest.approx(2 / 3)  # 1 for the two of two arms, 0 for the one of three
    assert np.isnan(first_action_entropy([toy_trajectory([0.0, 1.0], [], horizon=1, stop=StopReason.LENGTH)]))
