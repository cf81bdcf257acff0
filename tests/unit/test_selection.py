from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.algo.scores import SCORES, Scorer
from rmft_verl.algo.selection import count, pairs
from rmft_verl.algo.selection import select as select_scored
from rmft_verl.types import Scored, StopReason, Trajectory

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


def by_regret(trajectories: list[Trajectory]) -> list[Scored]:
    return Scorer("regret", None)(trajectories, rng())


def select(scored: list[Scored], **options: Any) -> list[Trajectory]:
    return [one.trajectory for one in select_scored(scored, **options)]


def test_a_choice_knows_its_place_among_all_plays() -> None:
    invalid = toy_trajectory(GAME, BEST, parsed=False)
    kept = select_scored(by_regret([invalid, *plays(WORST, BEST)]), keep=1, by="scenario", rng=rng())
    assert [one.place for one in kept] == [2]


def test_the_lowest_regrets_are_kept_best_first() -> None:
    kept = select(by_regret(plays(WORST, BEST, MIDDLE)), keep=2, by="scenario", rng=rng())
    assert [trajectory.regret for trajectory in kept] == [0.0, 1.0]


def test_keeping_more_than_there_are_keeps_all() -> None:
    assert len(select(by_regret(plays(WORST, BEST)), keep=5, by="scenario", rng=rng())) == 2


def test_keep_is_a_number_or_a_share() -> None:
    assert [count(keep, 16) for keep in (1, 8, 16, 0.5, 0.25, 0.01)] == [1, 8, 16, 8, 4, 1]


def test_ties_are_broken_by_the_generator_and_never_against_a_lower_score() -> None:
    scored = by_regret(plays(MIDDLE, MIDDLE, MIDDLE, MIDDLE, BEST))
    kept = [[play.policy_seed for play in select(scored, keep=2, by="scenario", rng=rng(seed))] for seed in range(60)]
    assert all(first == 4 for first, _ in kept)
    assert {second for _, second in kept} == {0, 1, 2, 3}
    assert select(scored, keep=2, by="scenario", rng=rng(3)) == select(scored, keep=2, by="scenario", rng=rng(3))


def test_random_draws_without_replacement_and_without_looking() -> None:
    candidates = plays(BEST, WORST, WORST, WORST)
    kept = []
    for seed in range(400):
        scored = Scorer("random", None)(candidates, generator := rng(seed))
        kept.append([play.policy_seed for play in select(scored, keep=2, by="scenario", rng=generator)])
    assert all(len(set(pair)) == 2 for pair in kept)
    assert 0.4 < np.mean([0 in pair for pair in kept]) < 0.6  # 1/2 in expectation, standard error 0.025


def test_keep_is_per_scenario_in_order_of_first_appearance() -> None:
    trajectories = plays(WORST, BEST, MIDDLE) + plays(MIDDLE, WORST, WORST, context="shop")
    kept = select(by_regret(trajectories), keep=1, by="scenario", rng=rng())
    assert [(play.scenario.context, play.regret) for play in kept] == [("plain", 0.0), ("shop", 1.0)]


@pytest.mark.parametrize("by", ["instance", "all"])
def test_a_wider_group_keeps_as_many_in_all_but_lets_scenarios_compete(by: str) -> None:
    trajectories = plays(BEST, BEST, MIDDLE) + plays(MIDDLE, WORST, WORST, context="shop")
    kept = select(by_regret(trajectories), keep=1, by=by, rng=rng())
    assert [(play.scenario.context, play.regret) for play in kept] == [("plain", 0.0), ("plain", 0.0)]


def test_an_instance_is_one_game_in_any_words() -> None:
    one, told_otherwise, other = plays(BEST)[0], plays(BEST, context="shop")[0], plays(BEST, means=(0.5, 1.0))[0]
    assert len(select(by_regret([one, told_otherwise, other]), keep=1, by="scenario", rng=rng())) == 3
    other_means = select(by_regret([one, other]), keep=1, by="instance", rng=rng())
    assert [play.scenario.id for play in other_means] == [one.scenario.id, other.scenario.id]


def test_a_threshold_drops_the_worst_of_what_would_be_kept() -> None:
    scored = by_regret(plays(BEST, MIDDLE, WORST))
    assert [play.regret for play in select(scored, keep=3, by="scenario", rng=rng(), threshold=0.5)] == [0.0, 1.0]
    assert select(by_regret(plays(WORST)), keep=3, by="scenario", rng=rng(), threshold=0.5) == []


def with_scores(*groups: list[float]) -> list[Scored]:
    """One group a scenario, told in different words, with these scores."""
    scored = []
    for n, scores in enumerate(groups):
        for score in scores:
            scored.append(Scored(toy_trajectory(GAME, BEST, context=str(n)), score, len(scored)))
    return scored


def often(scored: list[Scored], keep: int, rule: str, repeats: int) -> Any:
    """How often each trajectory is kept."""
    kept = np.zeros(len(scored))
    for seed in range(repeats):
        for one in select_scored(scored, keep=keep, by="scenario", rng=rng(seed), rule=rule):
            kept[one.place] += 1
    return kept / repeats


def test_the_proportional_rule_is_linear_in_the_score_with_one_spread_for_all_groups() -> None:
    scored = with_scores([0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0])
    spread = np.sqrt((4 + 1 + 0 + 9) / 8)  # around the means 2 and 1
    expected = np.array([1 + 2 / (2 * spread), 1 + 1 / (2 * spread), 1, max(0.0, 1 - 3 / (2 * spread)), 1, 1, 1, 1]) / 4
    kept = often(scored, keep=1, rule="proportional", repeats=4000)
    assert expected[3] == 0 and kept[3] == 0
    assert kept == pytest.approx(expected, abs=4 * 0.5 / 4000**0.5)


def test_without_differences_the_proportional_rule_draws_by_chance() -> None:
    kept = often(with_scores([3.0, 3.0], [3.0, 3.0]), keep=1, rule="proportional", repeats=2000)
    assert kept == pytest.approx(np.full(4, 0.5), abs=4 * 0.5 / 2000**0.5)
    assert not select_scored([], keep=1, by="scenario", rng=rng(), rule="proportional")
    everything = with_scores([3.0, 3.0])
    assert len(select_scored(everything, keep=2, by="scenario", rng=rng(), rule="proportional")) == 2


def test_the_best_of_four_is_lucky_and_the_proportional_rule_is_not_fooled() -> None:
    """A gambler has regret 0 or 4, on average 1.0, who plays safe 0.8 always: half of the plays are of each."""
    plays_of, kept_of = np.zeros(2), {"best": np.zeros(2), "proportional": np.zeros(2)}
    draw = rng(1)
    gambles = draw.random((3000, 4)) < 0.5
    scores = np.where(gambles, np.where(draw.random((3000, 4)) < 0.25, 4.0, 0.0), 0.8)
    scored = with_scores(*scores.tolist())
    plays_of += [gambles.sum(), (~gambles).sum()]
    for rule, kept in kept_of.items():
        for one in select_scored(scored, keep=1, by="scenario", rng=rng(2), rule=rule):
            kept[0 if gambles.ravel()[one.place] else 1] += 1
    share = {rule: (kept / plays_of)[0] / (kept / plays_of).sum() for rule, kept in kept_of.items()}
    assert share["best"] > 0.75 and share["proportional"] < 0.49, share


@pytest.mark.parametrize("score", sorted(set(SCORES) - {"posterior"}))
def test_invalid_trajectories_are_never_kept(score: str) -> None:
    unparsed = toy_trajectory(GAME, BEST, parsed=False)
    cut = toy_trajectory(GAME, BEST, cut=True)
    short = toy_trajectory(GAME, (1,), horizon=2, stop=StopReason.LENGTH)
    ended = toy_trajectory(GAME, (1,), horizon=2, stop=StopReason.INVALID)
    unscored = dataclasses.replace(toy_trajectory(GAME, BEST), regret=None)
    valid = toy_trajectory(GAME, WORST)
    scored = Scorer(score, None)([unparsed, cut, short, ended, unscored, valid], rng())
    kept = select(scored, keep=3, by="scenario", rng=rng())
    assert len(kept) == 1 and kept[0] is valid


def test_nothing_valid_keeps_nothing() -> None:
    assert select(by_regret([toy_trajectory(GAME, BEST, cut=True)]), keep=1, by="scenario", rng=rng()) == []
    assert pairs([], keep=1, by="all", rng=rng()) == []


def test_unknown_names_are_key_errors() -> None:
    with pytest.raises(KeyError, match="best"):
        Scorer("best", None)(plays(BEST), rng())
    with pytest.raises(KeyError, match="city"):
        select(by_regret(plays(BEST)), keep=1, by="city", rng=rng())


def test_pairs_set_the_best_against_the_worst() -> None:
    found = pairs(by_regret(plays(WORST, BEST, MIDDLE, BEST, WORST)), keep=2, by="scenario", rng=rng())
    assert [(chosen.score, rejected.score) for chosen, rejected in found] == [(0.0, 2.0), (0.0, 2.0)]
    seeds = [one.trajectory.policy_seed for pair in found for one in pair]
    assert sorted(seeds) == [0, 1, 3, 4]


def test_pairs_of_equal_or_close_scores_are_left_out() -> None:
    assert pairs(by_regret(plays(BEST, BEST)), keep=1, by="scenario", rng=rng()) == []
    close = by_regret(plays(BEST, MIDDLE))  # 1 apart; uniform play has a regret of 1
    assert len(pairs(close, keep=1, by="scenario", rng=rng(), margin=1.0)) == 1
    assert pairs(close, keep=1, by="scenario", rng=rng(), margin=1.01) == []


def test_a_middle_play_is_in_no_pair() -> None:
    assert len(pairs(by_regret(plays(BEST, MIDDLE, WORST)), keep=3, by="scenario", rng=rng())) == 1
