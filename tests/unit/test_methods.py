"""What each method takes of the scored plays of an iteration, and what it says of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.algo import METHODS
from rmft_verl.algo.grpo import turn_advantages
from rmft_verl.algo.scores import Scorer
from rmft_verl.config import Config, ConfigError, RolloutConfig, SelectionConfig, UpdateConfig
from rmft_verl.setup.recipe import load_config
from rmft_verl.train.iteration_metrics import credit_metrics
from rmft_verl.types import Batch, Scored, StopReason, Trajectory

PLAYS = [toy_trajectory((0.0, 1.0), actions) for actions in ((1, 1), (0, 1), (0, 0), (1, 1))]


def batch(loss: str, plays: list[Trajectory] = PLAYS, keep: float = 1) -> Batch:
    config = Config(
        rollout=RolloutConfig(rollouts=4), selection=SelectionConfig(keep=keep), update=UpdateConfig(loss=loss)
    )
    rng = np.random.default_rng(0)
    return METHODS[loss].choose(Scorer("regret", None)(plays, rng), config, rng)


def test_sft_takes_the_best() -> None:
    found = batch("sft", keep=0.5)
    assert sorted(found.kept) == [0, 3] and [play.regret for play in found.trajectories] == [0.0, 0.0]
    assert not found.credit


def test_dpo_takes_pairs_and_favors_the_chosen() -> None:
    found = batch("dpo")
    assert [play.regret for play in found.trajectories] == [0.0, 2.0]
    assert [PLAYS[place].regret for place in found.kept] == [0.0]


def test_grpo_takes_every_valid_play_with_its_credit() -> None:
    invalid = toy_trajectory((0.0, 1.0), (1, 1), parsed=False)
    found = batch("grpo", [invalid, *PLAYS])
    assert list(found.kept) == [1, 2, 3, 4]
    assert [credit_T.tolist() for credit_T in found.credit] == [[0, 0], [-1, -1], [-2, -2], [0, 0]]  # uniform costs 1


def penalized(plays: list[Trajectory], penalty: float) -> Batch:
    config = Config(rollout=RolloutConfig(rollouts=4), update=UpdateConfig(loss="grpo", penalty=penalty))
    rng = np.random.default_rng(0)
    return METHODS["grpo"].batch(Scorer("regret", None)(plays, rng), [p for p in plays if p.failed], config, rng)


def test_grpo_puts_an_invalid_play_below_the_worst_valid_one() -> None:
    """Written out: credits 0, -1, -2 and 0; the worst is -2, and 0.5 below it is -2.5."""
    means, invalid = (0.0, 1.0), StopReason.INVALID
    ended = toy_trajectory(means, (1,), horizon=2, stop=invalid, parsed=False)
    cut, full = toy_trajectory(means, (1, 1), cut=True), toy_trajectory(means, (1,), horizon=2, stop=StopReason.LENGTH)
    broken = toy_trajectory(means, (1,), horizon=2, stop=StopReason.ERROR, parsed=False)
    found = penalized([ended, *PLAYS, full, cut, broken], 0.5)
    assert list(found.kept) == [1, 2, 3, 4] and list(found.trajectories) == [*PLAYS, ended, cut]
    assert [credit_T.tolist() for credit_T in found.credit[4:]] == [[-2.5], [-2.5, -2.5]]
    assert credit_metrics(found) == {"rollout/credit": -0.75, "rollout/penalized": 2}
    last = [float(advantage_T[-1]) for advantage_T in turn_advantages(found, by_std=False)]
    means_T = (-8 / 6, -5.5 / 5)  # the play that ended early is compared at its one turn
    assert last == pytest.approx([1.1, 0.1, -0.9, 1.1, -2.5 - means_T[0], -2.5 - means_T[1]])


def test_grpo_compares_one_valid_play_with_an_invalid_one_and_needs_a_valid_one() -> None:
    invalid = toy_trajectory((0.0, 1.0), (1, 1), parsed=False)
    assert list(penalized([invalid, PLAYS[1]], 1).kept) == [1]
    assert [c.tolist() for c in penalized([invalid, PLAYS[1]], 1).credit] == [[-1, -1], [-2, -2]]
    assert penalized([invalid, PLAYS[1]], 0).trajectories == []
    assert penalized([invalid, invalid], 1).trajectories == []


def test_grpo_accepts_the_keys_that_leave_the_distribution_whole() -> None:
    raw = "verl.actor_rollout_ref.rollout"
    load_config(["recipe=mab_qwen3", "update.loss=grpo", "rollout.top_p=1", f"{raw}.top_k=-1", f"{raw}.top_p=1.0"])
    load_config(["recipe=mab_qwen3", "rollout.top_p=0.9", f"{raw}.top_k=20"])  # sft compares no log-probabilities


def test_grpo_leaves_out_a_play_without_another_of_its_scenario() -> None:
    lone = toy_trajectory((0.0, 1.0), (1, 1), context="shop")
    assert list(batch("grpo", [PLAYS[0], lone, PLAYS[1]]).kept) == [0, 2]
    assert batch("grpo", [lone]).trajectories == []


def test_grpo_reinforces_by_the_score_of_the_selection() -> None:
    config = Config(update=UpdateConfig(loss="grpo"))
    scored = [Scored(PLAYS[0], 0.5, 0), Scored(PLAYS[1], 2.0, 1)]
    found = METHODS["grpo"].choose(scored, config, np.random.default_rng(0))
    assert [credit_T.tolist() for credit_T in found.credit] == [[-0.5, -0.5], [-2.0, -2.0]]


def test_the_credit_of_an_iteration_is_the_mean_over_turns() -> None:
    played = [toy_trajectory((0.0, 1.0), (1, 1, 0)), toy_trajectory((0.0, 1.0), (0,))]
    credit = [np.array([1, 1, 0]), np.array([0])]
    assert credit_metrics(Batch(played, [0, 1], credit)) == {"rollout/credit": 0.5, "rollout/penalized": 0}
    assert credit_metrics(Batch(played, [0, 1])) == {}


def test_an_unscored_play_teaches_nothing() -> None:
    unscored = dataclasses.replace(PLAYS[0], regret=None)
    assert [len(batch(loss, [unscored]).trajectories) for loss in METHODS] == [0] * len(METHODS)


@pytest.mark.parametrize(
    "loss, trained, said",
    [
        ("sft", 4, "keep 4 of 16 by regret per scenario"),
        ("dpo", 8, "the lowest with the highest 4 of 16 by regret per scenario"),
        ("grpo", 16, "all 16 rollouts of a scenario, credited by regret"),
    ],
)
def test_a_method_says_what_it_trains_on(loss: str, trained: int, said: str) -> None:
    options = [f"update.loss={loss}", "rollout.rollouts=16", "selection.keep=4", "hardware.tokens_per_gpu=16384"]
    config = load_config(options)
    assert METHODS[loss].trained(config) == trained and METHODS[loss].plan(config) == said


def test_an_option_is_refused_by_the_methods_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"update\.margin=0\.1 is an option of update\.loss=dpo, not 'sft'"):
        load_config(["update.margin=0.1"])
    monkeypatch.setattr(type(METHODS["sft"]), "options", ("update.margin",))
    assert load_config(["update.margin=0.1"]).update.margin == 0.1
