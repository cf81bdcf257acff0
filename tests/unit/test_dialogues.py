"""What a run kept, in the formats of other trainers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.algo.distill import teach
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.regret import score
from rmft_verl.main.cli import main
from rmft_verl.store.dialogues import chat_lines, preference, preference_lines, unweighted
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import write_kept, write_trajectories
from rmft_verl.types import Message, RolloutRequest, Trajectory, Turn


def said(*turns: tuple[str, str, bool]) -> Trajectory:
    """A play whose turns are (what was told, what was said, whether it named an action)."""
    played = tuple(
        Turn((Message("user", told),), text, int(text) if named else None, 1.0 if named else None, named)
        for told, text, named in turns
    )
    rounds = sum(turn.action is not None for turn in played)
    return dataclasses.replace(toy_trajectory([0.1, 0.9], [0] * rounds), turns=played)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Two iterations of a bandit in words, of which every second trajectory was kept."""
    text = (
        "env: {name: mab, options: {arms: [2], horizon: [4]}}\nrollout: {history: dialogue}\nmodel: {path: tiny:mab}\n"
    )
    run = RunDir.create(tmp_path, "run", text)
    env_class = load_env("mab")
    draw, generator = np.random.default_rng(0), make_generator(env_class, {"arms": [2], "horizon": [4]})
    for n in (1, 2):
        scenarios = [generator.draw(draw) for _ in range(2)]
        requests = [RolloutRequest(one, i, i) for one in scenarios for i in range(4)]
        played = [score(each) for each in teach(env_class, "ucb1", "dialogue", requests)]
        write_trajectories(run.trajectories("train", n), played, phase="train", iteration=n)
        write_kept(run.trajectories("train", n), range(0, len(played), 2))
    return run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_a_dialogue_is_one_line_and_only_replies_that_count_are_trained() -> None:
    played = said(("rules", "hm", False), ("again?", "1", True), ("paid 1", "0", True))
    (line,) = chat_lines(played, "dialogue")
    assert [(m["role"], m["content"], m.get("weight")) for m in line["messages"]] == [
        ("user", "rules", None),
        ("assistant", "hm", 0),
        ("user", "again?", None),
        ("assistant", "1", 1),
        ("user", "paid 1", None),
        ("assistant", "0", 1),
    ]
    assert all("weight" not in message for message in unweighted(line)["messages"])
    prompts = chat_lines(played, "transcript")
    assert [[m["content"] for m in line["messages"]] for line in prompts] == [
        ["rules", "hm", "again?", "1"],
        ["paid 1", "0"],
    ]


def test_replies_of_worked_examples_are_not_trained() -> None:
    shown = (Message("system", "be brief"), Message("user", "another game"), Message("assistant", "1"))
    played = said(("rules", "0", True))
    played = dataclasses.replace(
        played, turns=(dataclasses.replace(played.turns[0], messages=(*shown, Message("user", "rules"))),)
    )
    (line,) = chat_lines(played, "dialogue")
    assert [m.get("weight") for m in line["messages"]] == [None, None, 0, None, 1]


def test_a_preference_is_the_first_difference_behind_one_input() -> None:
    chosen = said(("rules", "1", True), ("paid 1", "1", True), ("paid 1", "1", True))
    rejected = said(("rules", "1", True), ("paid 1", "0", True), ("paid 0", "0", True))
    found = preference(chosen, rejected, "dialogue")
    assert found is not None
    assert [m["content"] for m in found["input"]["messages"]] == ["rules", "1", "paid 1"]
    assert found["preferred_output"] == [{"role": "assistant", "content": "1"}]
    assert found["non_preferred_output"] == [{"role": "assistant", "content": "0"}]
    lucky = said(("rules", "1", True), ("paid 0", "0", True))
    assert preference(chosen, lucky, "dialogue") is None and preference(chosen, chosen, "dialogue") is None
    alone = preference(chosen, rejected, "transcript")
    assert alone is not None and [m["content"] for m in alone["input"]["messages"]] == ["paid 1"]


def test_pairs_are_best_kept_with_worst_not_kept_of_their_scenario() -> None:
    plays = [toy_trajectory([0.1, 0.9], actions) for actions in ([1, 1], [0, 0], [1, 0])]
    other = toy_trajectory([0.2, 0.3], [0, 0])
    found = list(preference_lines([*plays, other], [0, 2, 3], "dialogue"))
    assert [(line["preferred_output"][0]["content"], line["non_preferred_output"][0]["content"]) for line in found] == [
        ("1", "0")
    ]


def test_a_lone_surrogate_is_text_that_other_programs_read() -> None:
    (line,) = chat_lines(said(("rules \udcff", "0", True)), "dialogue")
    json.dumps(line, ensure_ascii=False).encode("utf-8")


def test_the_command_writes_what_was_kept_with_counts_and_a_checksum(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run.path), "--format", "chat-jsonl"]) == 0
    told, path = capsys.readouterr().out, run.path / "export" / "chat-jsonl.jsonl"
    assert "8 lines with 32 trained replies, of the 8 trajectories that iterations 1, 2 kept" in told
    assert f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in told
    assert [len(line["messages"]) for line in lines(path)] == [8] * 8
    assert main(["export", str(run.path), "--format", "chat-jsonl", "--iteration", "2"]) == 0
    assert len(lines(path)) == 4


def test_sharegpt_has_the_same_words(run: RunDir, tmp_path: Path) -> None:
    for form in ("chat-jsonl", "sharegpt"):
        assert main(["export", str(run.path), str(tmp_path / form), "--format", form]) == 0
    chat, shared = lines(tmp_path / "chat-jsonl"), lines(tmp_path / "sharegpt")
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    assert shared == [
        {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in line["messages"]]}
        for line in chat
    ]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "rmft-verl export RUN OUT"),
        (["--format", "chat-jsonl", "--iteration", "7"], "rollouts of iterations [1, 2]"),
        (["THERE", "--format", "sharegpt"], "exists: remove it"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    arguments: list[str], word: str, run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    assert main(["export", str(run.path), *(str(there) if each == "THERE" else each for each in arguments)]) == 2
    told = capsys.readouterr().err
    assert word in told and told.count("\n") == 1 and there.read_text() == "mine"


def test_a_run_that_does_not_say_what_it_kept_is_refused(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path / "trajectories" / "train_002.kept.json").unlink()
    assert main(["export", str(run.path), "--format", "sharegpt"]) == 2
    assert "what iteration 2 kept" in capsys.readouterr().err
