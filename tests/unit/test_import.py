"""Dialogues played elsewhere become a run directory: played again on their replies, scored, selected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rmft_verl.env import load_env, make_generator
from rmft_verl.env.regret import pseudo_regret
from rmft_verl.main.cli import main
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_kept, read_trajectories
from rmft_verl.types import Scenario, StopReason, Trajectory

SETTINGS = ("env.name=mab", "selection.keep=2")


def play_elsewhere(scenario: Scenario, seed: int, choose: Callable[[int], str]) -> dict[str, Any]:
    """As docs/hosted.md does it: the game in a loop of one's own."""
    env, messages = load_env("mab")(scenario, seed), []
    observation: Any = env.reset()
    while observation is not None:
        messages += [message._asdict() for message in observation.messages]
        text = choose(observation.turn)
        messages.append({"role": "assistant", "content": text})
        action = env.parse(text)
        assert action is not None
        observation = env.step(action).observation
    return {"messages": messages, "scenario": scenario.to_json(), "reward_seed": seed}


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """Two games of two arms over six rounds; play n chooses arm 1 in its first n rounds."""
    rng = np.random.default_rng(0)
    generator = make_generator(load_env("mab"), {"arms": [2], "horizon": [6], "contexts": "basic"})
    games = [generator.draw(rng) for _ in range(2)]
    return [
        play_elsewhere(game, seed, lambda turn, n=n, game=game: f"Action: {game.actions[turn < n]}")  # type: ignore[misc]
        for seed, game in enumerate(games)
        for n in (0, 2, 6)
    ]


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_dialogues_are_scored_and_the_best_of_each_game_are_kept(
    lines: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "played.jsonl", lines)
    assert main(["import", str(file), str(tmp_path / "run"), *SETTINGS]) == 0
    assert "6 dialogues, 6 valid, 4 kept" in capsys.readouterr().out
    run = RunDir.open(tmp_path / "run")
    played, kept = read_trajectories(run.trajectories("train", 1)), read_kept(run.trajectories("train", 1))
    for n, play in enumerate(played):
        chosen = [int(turn < (0, 2, 6)[n % 3]) for turn in range(6)]
        assert [turn.action for turn in play.turns] == chosen
        assert play.regret == pseudo_regret(play.oracle.expected_T_A, chosen)[-1]
        assert [m._asdict() for m in play.messages] == lines[n]["messages"]
    for first in (0, 3):
        worst = max(range(first, first + 3), key=lambda n: played[n].regret or 0)
        assert kept is not None and worst not in kept and sum(first <= place < first + 3 for place in kept) == 2
    (row,) = read_metrics(run.metrics)
    assert row["kept/normalized_regret"] < row["rollout/normalized_regret"]  # type: ignore[operator]


def test_the_run_can_be_viewed_rescored_exported_and_imported_again(
    lines: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    assert main(["import", str(write(tmp_path / "played.jsonl", lines)), str(run), *SETTINGS]) == 0
    assert main(["view", str(run)]) == 0
    assert "played elsewhere (rmft-verl import)" in (run / "report" / "index.html").read_text(encoding="utf-8")
    assert main(["rescore", str(run), "keep=1"]) == 0
    assert main(["export", str(run), "--format", "episodes"]) == 0
    assert main(["import", str(run / "export" / "episodes.jsonl"), str(again), *SETTINGS]) == 0
    kept = read_kept(RunDir.open(run).trajectories("train", 1)) or []
    played = read_trajectories(RunDir.open(run).trajectories("train", 1))
    returned = read_trajectories(RunDir.open(again).trajectories("train", 1))
    assert [facts(play) for play in returned] == [facts(played[place]) for place in kept]


def facts(play: Trajectory) -> list[Any]:
    return [play.scenario, play.reward_seed, play.turns, play.regret]


def test_a_dialogue_that_stops_early_is_data_and_never_kept(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    lines[0]["messages"] = lines[0]["messages"][:5]  # two replies, and a message without one
    assert main(["import", str(write(tmp_path / "f", lines)), str(tmp_path / "run"), *SETTINGS]) == 0
    file = RunDir.open(tmp_path / "run").trajectories("train", 1)
    first = read_trajectories(file)[0]
    assert first.stop_reason is StopReason.LENGTH and len(first.turns) == 2 and not first.valid
    assert 0 not in (read_kept(file) or [])


def broken(lines: list[dict[str, Any]], **change: Any) -> list[Any]:
    return [lines[0], lines[1] | change, *lines[2:]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: [lines[0], ["no object"]], "line 2: messages is missing"),
        (lambda lines: [lines[0], {k: v for k, v in lines[1].items() if k != "scenario"}], "scenario is missing"),
        (lambda lines: broken(lines, reward_seed="7"), "reward_seed='7': write the whole number"),
        (lambda lines: broken(lines, reward_seed=5), "line 2: message 5 is user 'Mirror"),
        (lambda lines: broken(lines, scenario=lines[3]["scenario"]), "line 2: message 1 is user"),
        (lambda lines: broken(lines, scenario={"env": "mab"}), "mab has no such scenario (KeyError: 'horizon')"),
        (lambda lines: broken(lines, messages="hello"), "messages is no list of role and content"),
        (lambda lines: broken(lines, messages=[{"role": "user", "content": None}]), "content=None: write the text"),
        (lambda lines: broken(lines, messages=lines[1]["messages"][:1]), "no reply of the assistant"),
        (lambda lines: broken(lines, messages=[*lines[1]["messages"] * 2]), "the game ends after 12"),
        (lambda lines: [], "has no lines"),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_nothing_is_written(
    spoil: Any, words: str, lines: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "played.jsonl", spoil(lines))
    assert main(["import", str(file), str(tmp_path / "run"), *SETTINGS]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("rollout.history=transcript", "use rollout.history=dialogue"),
        ("rollout.examples=1", "use rollout.examples=0"),
        ("selection.keep=7", "selection.keep=7 is more than rollout.rollouts=3"),
        ("env.name=nothing", "no such environment"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(
    setting: str, words: str, lines: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "played.jsonl", lines)
    assert main(["import", str(file), str(tmp_path / "run"), *SETTINGS, setting]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "run").exists()
