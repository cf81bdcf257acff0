from __future__ import annotations

import importlib
import importlib.util
import json
import math
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rmft_verl.store.tracking import (
    FileTracker,
    Trackers,
    TrackingError,
    best_median_worst,
    read_metrics,
    render_dialogue,
    start_wandb,
)
from rmft_verl.types import Message, Oracle, Scenario, StopReason, Trajectory, Turn

SCENARIO = Scenario("toy", 2, ("red", "blue"), "doors", {})


def trajectory(regret: float | None) -> Trajectory:
    turns = (
        Turn((Message("user", "Pick a door."),), "Blue \udcff it is.", 1, 1.0, True),
        Turn((Message("user", "You won 1."),), "?", 0, 0.0, False),
        Turn((), "??", None, None, False),
    )
    oracle = Oracle(np.ones((2, 2)), "pseudo")
    return Trajectory(SCENARIO, "model", turns, oracle, StopReason.COMPLETED, 1, 2, regret=regret)


def test_every_row_has_every_key_seen_so_far(tmp_path):
    tracker = FileTracker(tmp_path / "metrics.jsonl")
    tracker.log({"eval/regret": 3.0}, 0)
    tracker.log({"train/loss": 0.5, "eval/regret": math.nan}, 1)
    tracker.log({"eval/regret": np.float32(1.5)}, 2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines == [
        '{"iteration": 0, "eval/regret": 3.0}',
        '{"iteration": 1, "eval/regret": null, "train/loss": 0.5}',
        '{"iteration": 2, "eval/regret": 1.5, "train/loss": null}',
    ]
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[0] == {"iteration": 0, "eval/regret": 3.0}
    assert rows[1]["eval/regret"] is None and rows[2]["train/loss"] is None


def test_a_torn_last_row_is_dropped_and_keys_are_taken_up_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 0, "a": 1.0}\n{"iteration": 1, "a')
    assert [row["iteration"] for row in read_metrics(path)] == [0]
    FileTracker(path).log({"b": 2.0}, 1)
    assert path.read_text() == '{"iteration": 0, "a": 1.0}\n{"iteration": 1, "a": null, "b": 2.0}\n'


def test_other_damage_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 0}\n{"it\n{"iteration": 2}\n')
    with pytest.raises(TrackingError, match=r"metrics\.jsonl cannot be read"):
        read_metrics(path)
    with pytest.raises(TrackingError):
        FileTracker(path)


WARNING = "rmft_verl: warning: "


def warnings_in(said: str) -> list[str]:
    return [line.removeprefix(WARNING) for line in said.splitlines() if line.startswith(WARNING)]


class Recorder:
    def __init__(self, broken: bool = False) -> None:
        self.calls: list[str] = []
        self.broken = broken

    def note(self, call: str) -> None:
        self.calls.append(call)
        if self.broken:
            raise ConnectionError("no route")

    def log(self, metrics, step):
        self.note(f"log {dict(metrics)} {step}")

    def log_dialogues(self, trajectories, step):
        self.note(f"dialogues {len(trajectories)} {step}")

    def close(self):
        self.note("close")


def test_a_broken_tracker_warns_once_and_the_others_go_on(capsys):
    files, broken, other = Recorder(), Recorder(broken=True), Recorder()
    trackers = Trackers(files, broken, other)
    trackers.log({"a": 1.0}, 0)
    trackers.log_dialogues([trajectory(1.0)], 0)
    trackers.close()
    assert files.calls == broken.calls == other.calls == ["log {'a': 1.0} 0", "dialogues 1 0", "close"]
    assert warnings_in(capsys.readouterr().err) == [
        "Recorder failed (ConnectionError: no route); the run goes on without it"
    ]


def test_the_file_tracker_may_stop_a_run():
    with pytest.raises(ConnectionError):
        Trackers(Recorder(broken=True)).log({"a": 1.0}, 0)


def test_best_median_and_worst():
    scored = [trajectory(regret) for regret in (4.0, 1.0, None, 3.0, 2.0)]
    assert [(which, t.regret) for which, t in best_median_worst(scored)] == [
        ("best", 1.0),
        ("median", 2.0),
        ("worst", 4.0),
    ]
    assert best_median_worst([trajectory(None)]) == []


def test_a_dialogue_reads_as_text():
    assert render_dialogue(trajectory(1.0)) == (
        "[user]\nPick a door.\n\n"
        "[assistant]\n  Blue \\udcff it is.\n(blue -> 1)\n\n"
        "[user]\nYou won 1.\n\n"
        "[assistant]\n  ?\n(red -> 0, drawn for a reply not understood)\n\n"
        "[assistant]\n  ??\n(reply not understood)"
    )


def test_a_reply_cannot_look_like_a_turn_or_an_outcome():
    text = "Blue.\n(blue -> 9)\n\n[user]\nYou won 9.\r\u2028[user]\x1b[2J" + "x" * 30_000
    turn = Turn((Message("user", "Pick a door."),), text, 1, 1.0, True)
    oracle = Oracle(np.ones((2, 2)), "pseudo")
    told = render_dialogue(Trajectory(SCENARIO, "model", (turn,), oracle, StopReason.COMPLETED, 1, 2))
    plain = [line for line in told.splitlines() if line and not line.startswith("  ")]
    assert plain == ["[user]", "Pick a door.", "[assistant]", "(blue -> 1)"]
    assert "\x1b" not in told and len(told) < 21_000 and "characters more" in told


needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


@pytest.fixture
def logged_out(monkeypatch, tmp_path):
    """No W&B login, no W&B settings, nothing written outside ``tmp_path``."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))


@needs_wandb
def test_wandb_without_a_login_records_offline_with_one_warning(tmp_path, logged_out, capfd):
    run = tmp_path / "run"
    run.mkdir()
    tracker = start_wandb(run, project="p", name="n", run_id="abcd1234", mode="auto", config={"seed": 3})
    assert warnings_in(capfd.readouterr().err) == [
        "W&B: no login found, so this run is recorded offline; upload it later with wandb sync"
    ]
    for step in (0, 1):
        tracker.log_dialogues([trajectory(regret) for regret in (3.0, 1.0, 2.0)], step)
        tracker.log({"eval/regret": 2.0 - step, "odd": math.nan}, step)
    tracker.log_dialogues([], 2)
    tracker.close()
    importlib.import_module("wandb").teardown()  # waits until its own process has written everything
    assert "".join(capfd.readouterr()) == ""
    (record,) = run.glob("wandb/offline-run-*-abcd1234/run-abcd1234.wandb")
    assert b"eval/regret" in record.read_bytes()
    tables = sorted(run.glob("wandb/offline-run-*/files/media/table/dialogues/*.table.json"))
    assert sorted({path.name[:3] for path in tables}) == ["000", "001"]
    table = json.loads(tables[0].read_text())
    assert [row[:2] for row in table["data"]] == [["best", 1.0], ["median", 2.0], ["worst", 3.0]]
    assert "[user]\nPick a door." in table["data"][0][5]


def entries(record: Path) -> list[bytes]:
    """The entries of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    data, at, found, parts = record.read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no header fits the rest of a block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(parts)
            parts = b""
    return found


def recorded_steps(record: Path) -> list[tuple[int, int]]:
    """W&B's own step and ours of every row of an offline run."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in entries(record):
        entry = wandb_internal_pb2.Record()
        entry.ParseFromString(data)
        if entry.WhichOneof("record_type") == "history":
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in entry.history.item}
            rows.append((entry.history.step.num, row["iteration"]))
    return rows


@needs_wandb
def test_a_continued_run_is_one_wandb_run_whose_steps_go_on(tmp_path, logged_out, capfd):
    for attempt in ((0, 1), (2,), (3, 4)):
        tracker = start_wandb(tmp_path, project="p", name="n", run_id="abcd1234", mode="offline", config={})
        for step in attempt:
            tracker.log_dialogues([trajectory(1.0)], step)
            tracker.log({"eval/regret": 2.0}, step)
        tracker.close()
        importlib.import_module("wandb").teardown()
        time.sleep(1)  # W&B names its directory after the second
    records = sorted(tmp_path.glob("wandb/offline-run-*-abcd1234/run-abcd1234.wandb"))
    assert [row for record in records for row in recorded_steps(record)] == [(step, step) for step in range(5)]
    assert "".join(capfd.readouterr()) == ""


@needs_wandb
def test_wandb_offline_on_request_needs_no_warning(tmp_path, logged_out, capfd):
    tracker = start_wandb(tmp_path, project="p", name="n", run_id="abcd1234", mode="offline", config={})
    tracker.close()
    assert warnings_in(capfd.readouterr().err) == []


def test_wandb_missing_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrackingError, match="pip install wandb"):
        start_wandb(tmp_path, project="p", name="n", run_id="i", mode="auto", config={})
