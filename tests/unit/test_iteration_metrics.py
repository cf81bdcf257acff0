from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.config import SelectionConfig
from rmft_verl.env.regret import score
from rmft_verl.train.iteration_metrics import (
    collapse,
    few_particles,
    held_out_metrics,
    kept_metrics,
    particle_metrics,
    rollout_metrics,
    unreadable,
)
from rmft_verl.types import Oracle, Scored, StopReason, Trajectory


def elsewhere(play: Trajectory, name: str) -> Trajectory:
    return dataclasses.replace(play, scenario=dataclasses.replace(play.scenario, env=name))


def broken() -> Trajectory:
    """A play whose environment raised before the first round."""
    play = toy_trajectory([0.0, 1.0], [0, 0])
    unknown = Oracle(np.zeros((2, 2)), "none")
    return score(dataclasses.replace(play, turns=(), oracle=unknown, stop_reason=StopReason.ERROR, regret=None))


def test_where_nothing_is_at_stake_there_is_no_normalized_regret() -> None:
    plays = [toy_trajectory([0.5, 0.5], [0, 1], context=str(i)) for i in range(3)]
    for row in (held_out_metrics(plays, {}), rollout_metrics(plays, 1.0)):
        regret = {key: value for key, value in row.items() if "normalized_regret" in key}
        assert regret and all(math.isnan(value) for value in regret.values())
    assert math.isnan(kept_metrics(plays, [0], [Scored(play, 0.0, 0) for play in plays])["kept/normalized_regret"])
    assert held_out_metrics(plays, {})["heldout/regret"] == 0.0


def test_the_share_of_kept_plays_that_were_repaired() -> None:
    plain = toy_trajectory([0.0, 1.0], [0, 1])
    failed = dataclasses.replace(plain.turns[0], action=None, reward=None, parsed=False)
    played = [plain, dataclasses.replace(plain, turns=(failed, *plain.turns)), plain, plain]
    scored = [Scored(play, 0.0, place) for place, play in enumerate(played)]
    assert kept_metrics(played, [0, 1, 2, 3], scored)["kept/repaired"] == 0.25
    assert kept_metrics([plain], [0], scored)["kept/repaired"] == 0.0


def test_an_environment_of_a_mix_that_failed_has_no_regret_and_the_others_do() -> None:
    played = [toy_trajectory([0.0, 1.0], [0, 1]), elsewhere(broken(), "other")]
    row = held_out_metrics(played, {})
    assert row["heldout/normalized_regret"] == row["heldout/normalized_regret/toy"] == pytest.approx(1.0)
    assert math.isnan(row["heldout/normalized_regret/other"])


def test_few_effective_particles_are_said() -> None:
    assert particle_metrics([]) == {} and few_particles({}) == ""
    row = particle_metrics([10.0, 30.0, 500.0])
    assert row == {"rollout/effective_particles": 30.0}
    assert "rests on 30 effective particles" in few_particles(row)
    assert few_particles({"rollout/effective_particles": 200.0}) == ""


def test_the_gap_is_held_out_regret_minus_that_of_what_was_kept() -> None:
    played = [toy_trajectory([0.0, 1.0], [0, 1])]
    assert held_out_metrics(played, {"kept/normalized_regret": 0.25})["heldout/optimism_gap"] == pytest.approx(0.75)


def unread(play: Trajectory, text: str, cut: bool) -> Trajectory:
    turns = (dataclasses.replace(play.turns[0], text=text, parsed=False, cut=cut), *play.turns[1:])
    return dataclasses.replace(play, turns=turns)


def test_many_invalid_plays_are_said_with_three_replies_and_the_remedies() -> None:
    good = [toy_trajectory([0.0, 1.0], [0, 1]) for _ in range(7)]
    bad = [unread(toy_trajectory([0.0, 1.0], [0, 1]), f"babble {i}", cut=i == 0) for i in range(3)]
    text = unreadable(good + bad)
    assert "30% of 10 plays are invalid" in text and "33% ran into rollout.reply_tokens" in text
    assert all(f"babble {i}" in text for i in range(3))
    assert all(remedy in text for remedy in ("+warmup", "rollout.reply_tokens", "enable_thinking", "action_only"))
    assert unreadable(good + bad[:1]) == unreadable(good) == ""


@pytest.mark.parametrize(
    ("selection", "remedy"),
    [
        (SelectionConfig(), "selection.keep"),
        (SelectionConfig(score="posterior"), "selection.further above 0"),
        (SelectionConfig(score="posterior", further=1.0), "lower update.lr"),
        (SelectionConfig(score="random"), "raise update.batch"),
    ],
)
def test_a_collapse_names_what_the_run_does_not_do_yet(selection: SelectionConfig, remedy: str) -> None:
    first = {"rollout/suffix_failure": 0.18, "rollout/min_fraction": 0.46}
    more_failures, less_explored = first | {"rollout/suffix_failure": 0.34}, first | {"rollout/min_fraction": 0.11}
    for row in (more_failures, less_explored):
        assert remedy in collapse(first, row, selection)
    assert "suffix failures 0.18 -> 0.34" in collapse(first, more_failures, selection)
    still_exploring = {"rollout/suffix_failure": 0.32, "rollout/min_fraction": 0.12}
    without_arms = {"rollout/suffix_failure": math.nan, "rollout/min_fraction": math.nan}
    assert collapse(first, still_exploring, selection) == collapse(without_arms, without_arms, selection) == ""
