from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.algo.credit import CREDITS
from rmft_verl.env import load_env
from rmft_verl.eval.algorithms import evaluate_players
from rmft_verl.types import Scored, Trajectory

MEANS = (0.2, 0.8, 0.5)


def credit(name: str, trajectory: Trajectory) -> np.ndarray:
    assert trajectory.regret is not None
    return CREDITS[name](Scored(trajectory, trajectory.regret, 0))


def test_score_credits_the_whole_play_alike() -> None:
    play = toy_trajectory(MEANS, (1, 0, 2))  # regret 0 + 0.6 + 0.3; uniform play 3 * 0.3
    assert credit("score", play) == pytest.approx([-1.0, -1.0, -1.0])
    assert credit("score", toy_trajectory(MEANS, (1, 1))) == pytest.approx([0.0, 0.0])
    assert CREDITS["score"](Scored(play, 0.45, 0)) == pytest.approx([-0.5, -0.5, -0.5])


def test_reward_credits_what_follows() -> None:
    play = toy_trajectory(MEANS, (1, 0, 2), rewards=[1.0, 0.0, 0.5])
    assert credit("reward", play) == pytest.approx([1.5, 0.5, 0.5])


def test_strategic_credits_what_follows_as_a_share_of_the_worst() -> None:
    play = toy_trajectory(MEANS, (1, 0, 2))  # 1 - 0, 1 - 0.6 / 0.6, 1 - 0.3 / 0.6
    assert credit("strategic", play) == pytest.approx([1.5, 0.5, 0.5])
    equal = toy_trajectory((0.4, 0.4), (0, 1))
    assert credit("strategic", equal) == pytest.approx([2.0, 1.0])


def test_ucb_credits_agreement_turn_by_turn() -> None:
    # Untried arms agree: 0, 1, 2. Then bounds 1 + 1, 0 + 1, 0 + 1: only arm 0 agrees; after a 0 of arm 0 its bound
    # is 0.5 + sqrt(1/2) = 1.207, still the largest.
    play = toy_trajectory(MEANS, (0, 1, 2, 1, 0, 0), rewards=[1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    assert credit("ucb", play).tolist() == [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    assert credit("ucb", toy_trajectory(MEANS, (0, 0), rewards=[1.0, 1.0])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", CREDITS)
def test_a_reply_that_was_asked_again_has_no_credit(name: str) -> None:
    play = toy_trajectory(MEANS, (1, 0, 2), rewards=[1.0, 0.0, 0.5])
    failed = dataclasses.replace(play.turns[1], action=None, reward=None, parsed=False)
    repaired = dataclasses.replace(play, turns=(*play.turns[:1], failed, *play.turns[1:]))
    assert repaired.valid and credit(name, repaired).tolist() == credit(name, play).tolist()


@pytest.mark.parametrize("first", [0, 1])
def test_bounds_that_tie_up_to_rounding_share_the_credit(first: int) -> None:
    # Three pulls each with the average 0.2, summed in different orders: both arms agree with UCB.
    arms = [first] * 3 + [1 - first] * 3
    for last in (0, 1):
        play = toy_trajectory((0.2, 0.2), [*arms, last], rewards=[0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.2])
        assert credit("ucb", play)[-1] == 1.0


def test_arms_that_are_equally_good_up_to_rounding_cost_nothing() -> None:
    play = toy_trajectory((0.1 + 0.2, 0.3), (1, 1))
    assert credit("strategic", play) == pytest.approx([2.0, 1.0])
    assert credit("score", play) == pytest.approx([0.0, 0.0])


def test_the_player_ucb1_always_agrees_with_itself() -> None:
    env_class = load_env("mab")
    scenario = env_class.Generator(arms=[5], horizon=[40]).draw(np.random.default_rng(3))
    for play in evaluate_players(env_class, ["ucb1"], [scenario], 5, 0)["ucb1"]:
        assert credit("ucb", play).all()


def test_ucb_needs_arms() -> None:
    env_class = load_env("fol")
    scenario = env_class.Generator(horizon=[3]).draw(np.random.default_rng(0))
    play = evaluate_players(env_class, ["hedge"], [scenario], 1, 0)["hedge"][0]
    with pytest.raises(ValueError, match="needs arms"):
        credit("ucb", play)
    assert credit("strategic", play).shape == (3,)
