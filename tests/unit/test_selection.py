from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.selection import RULES, group, lowest_regret, random_k, select
from rmft_verl.types import StopReason, Trajectory

GAME = (0.0, 1.0)
BEST, MIDDLE, WORST = (1, 1), (0, 1), (0, 0)
"""Two rounds: regret 0, 1 and 2."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plays(*actions: tuple[int, int], context: str = "plain", means: tuple[float, ...] = GAME) -> list[Trajectory]:
    return [
        dataclasses.replace(toy_trajectory(means, pair, context=context), policy_seed=i)
        for i, pair in enumerate(actions)
    ]


def test_the_lowest_regrets_are_kept_best_first() -> None:
    kept = lowest_regret(plays(WORST, BEST, MIDDLE), 2, rng())
    assert [trajectory.regret for trajectory in kept] == [0.0, 1.0]


def test_keeping_more_than_there_are_keeps_all() -> None:
    assert len(lowest_regret(plays(WORST, BEST), 5, rng())) == 2
    assert len(random_k(plays(WORST, BEST), 5, rng())) == 2


def test_ties_are_broken_by_the_generator_and_never_against_a_lower_regret() -> None:
    candidates = plays(MIDDLE, MIDDLE, MIDDLE, MIDDLE, BEST)
    kept = [[play.policy_seed for play in lowest_regret(candidates, 2, rng(seed))] for seed in range(60)]
    assert all(first == 4 for first, _ in kept)
    assert {second for _, second in kept} == {0, 1, 2, 3}
    assert lowest_regret(candidates, 2, rng(3)) == lowest_regret(candidates, 2, rng(3))


def test_an_unscored_trajectory_cannot_be_ranked() -> None:
    unscored = dataclasses.replace(plays(BEST)[0], regret=None)
    with pytest.raises(ValueError, match="without a regret"):
        lowest_regret([*plays(WORST), unscored], 1, rng())


def test_random_draws_without_replacement_and_without_looking() -> None:
    candidates = plays(BEST, WORST, WORST, WORST)
    kept = [[play.policy_seed for play in random_k(candidates, 2, rng(seed))] for seed in range(400)]
    assert all(len(set(pair)) == 2 for pair in kept)
    share_with_best = np.mean([0 in pair for pair in kept])
    assert 0.4 < share_with_best < 0.6  # 1/2 in expectation, standard error 0.025


def test_groups_keep_the_order_of_first_appearance() -> None:
    one, told_otherwise, other = plays(BEST)[0], plays(BEST, context="shop")[0], plays(BEST, means=(0.5, 1.0))[0]
    mixed = [one, told_otherwise, other, one]
    assert [len(g.trajectories_G) for g in group(mixed, "scenario")] == [2, 1, 1]
    assert [len(g.trajectories_G) for g in group(mixed, "instance")] == [3, 1]
    assert [(g.key, len(g.trajectories_G)) for g in group(mixed, "all")] == [("all", 4)]
    assert group(mixed, "scenario")[0].key == one.scenario.id


def test_keep_is_per_scenario() -> None:
    trajectories = plays(WORST, BEST, MIDDLE) + plays(MIDDLE, WORST, WORST, context="shop")
    kept = select(trajectories, rule="lowest_regret", keep=1, by="scenario", rng=rng())
    assert [(play.scenario.context, play.regret) for play in kept] == [("plain", 0.0), ("shop", 1.0)]


@pytest.mark.parametrize("by", ["instance", "all"])
def test_a_wider_group_keeps_as_many_in_all_but_lets_scenarios_compete(by: str) -> None:
    trajectories = plays(BEST, BEST, MIDDLE) + plays(MIDDLE, WORST, WORST, context="shop")
    kept = select(trajectories, rule="lowest_regret", keep=1, by=by, rng=rng())
    assert [(play.scenario.context, play.regret) for play in kept] == [("plain", 0.0), ("plain", 0.0)]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_invalid_trajectories_are_never_kept(rule: str) -> None:
    unparsed = toy_trajectory(GAME, BEST, parsed=False)
    cut = toy_trajectory(GAME, BEST, cut=True)
    short = toy_trajectory(GAME, (1,), horizon=2, stop=StopReason.LENGTH)
    ended = toy_trajectory(GAME, (1,), horizon=2, stop=StopReason.INVALID)
    unscored = dataclasses.replace(toy_trajectory(GAME, BEST), regret=None)
    valid = toy_trajectory(GAME, WORST)
    kept = select([unparsed, cut, short, ended, unscored, valid], rule=rule, keep=3, by="scenario", rng=rng())
    assert len(kept) == 1 and kept[0] is valid


def test_a_group_with_too_few_valid_trajectories_gives_what_it_has() -> None:
    poor = [toy_trajectory(GAME, BEST, parsed=False), toy_trajectory(GAME, WORST)]
    rich = plays(BEST, MIDDLE, WORST, context="shop")
    kept = select(poor + rich, rule="lowest_regret", keep=2, by="scenario", rng=rng())
    assert [(play.scenario.context, play.regret) for play in kept] == [("plain", 2.0), ("shop", 0.0), ("shop", 1.0)]


def test_nothing_valid_keeps_nothing() -> None:
    assert select([toy_trajectory(GAME, BEST, cut=True)], rule="random", keep=1, by="scenario", rng=rng()) == []
    assert select([], rule="lowest_regret", keep=1, by="all", rng=rng()) == []


def test_unknown_names_are_key_errors() -> None:
    with pytest.raises(KeyError, match="best"):
        select(plays(BEST), rule="best", keep=1, by="scenario", rng=rng())
    with pytest.raises(KeyError, match="city"):
        select(plays(BEST), rule="random", keep=1, by="city", rng=rng())
