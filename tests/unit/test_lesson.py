from __future__ import annotations

import dataclasses

import numpy as np
from toy_bandit import toy_trajectory

from rmft_verl.algo.lesson import choose, favored
from rmft_verl.algo.scores import Scorer
from rmft_verl.config import Config, RolloutConfig, SelectionConfig, UpdateConfig
from rmft_verl.train.iteration_metrics import credit_metrics
from rmft_verl.types import Batch, CreditedTrajectory, PreferencePair, Scored, Trajectory

PLAYS = [toy_trajectory((0.0, 1.0), actions) for actions in ((1, 1), (0, 1), (0, 0), (1, 1))]


def lesson(loss: str, plays: list[Trajectory] = PLAYS, keep: float = 1) -> Batch:
    config = Config(
        rollout=RolloutConfig(rollouts=4), selection=SelectionConfig(keep=keep), update=UpdateConfig(loss=loss)
    )
    rng = np.random.default_rng(0)
    return choose(Scorer("regret", None)(plays, rng), config, rng)


def test_sft_takes_the_best() -> None:
    batch = lesson("sft", keep=0.5)
    assert [play.regret for play in favored(batch)] == [0.0, 0.0]


def test_dpo_takes_pairs_and_favors_the_chosen() -> None:
    batch = lesson("dpo")
    assert all(isinstance(pair, PreferencePair) for pair in batch)
    assert [play.regret for play in favored(batch)] == [0.0]


def test_grpo_takes_every_valid_play_with_its_credit() -> None:
    invalid = toy_trajectory((0.0, 1.0), (1, 1), parsed=False)
    batch = lesson("grpo", [*PLAYS, invalid])
    assert all(isinstance(one, CreditedTrajectory) for one in batch)
    assert [play.regret for play in favored(batch)] == [0.0, 1.0, 2.0, 0.0]


def test_grpo_reinforces_by_the_score_of_the_selection() -> None:
    config = Config(update=UpdateConfig(loss="grpo"))
    scored = [Scored(PLAYS[0], 0.5), Scored(PLAYS[1], 2.0)]
    batch = choose(scored, config, np.random.default_rng(0))
    assert all(isinstance(one, CreditedTrajectory) for one in batch)
    credits = [one.credit_T.tolist() for one in batch if isinstance(one, CreditedTrajectory)]
    assert credits == [[-0.5, -0.5], [-2.0, -2.0]]  # uniform play's regret is 1


def test_the_credit_of_an_iteration_is_the_mean_over_turns() -> None:
    played = [toy_trajectory((0.0, 1.0), (1, 1, 0)), toy_trajectory((0.0, 1.0), (0,))]
    batch = [CreditedTrajectory(play, np.array(credit)) for play, credit in zip(played, ([1, 1, 0], [0]), strict=True)]
    assert credit_metrics(batch) == {"rollout/credit": 0.5}
    assert credit_metrics(played) == {}


def test_an_unscored_play_teaches_nothing() -> None:
    unscored = dataclasses.replace(PLAYS[0], regret=None)
    assert [len(lesson(loss, [unscored])) for loss in ("sft", "dpo", "grpo")] == [0, 0, 0]
