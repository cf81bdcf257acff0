"""A real run whose whole process tree is killed in the middle of an update, and started again with the same command."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from rmft_verl.trajectory_file import read_trajectories

pytestmark = pytest.mark.e2e

MARK = "RMFT_TEST_TREE"
"""Environment variable that every process of the killed run inherits."""

SMALL = [
    "iterations=2",
    "env.options.horizon=[4]",
    "rollout.scenarios=2",
    "rollout.rollouts=4",
    "selection.keep=2",
    "update.batch=2",
    "update.epochs=4",
    "eval.scenarios=4",
]


def tree(mark: str) -> list[int]:
    """The processes of the run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def kill(process: subprocess.Popen[str], mark: str) -> None:
    """Kill the process group, then what had left it, and wait until nothing is left."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while left := tree(mark):
        assert time.monotonic() < deadline, f"still there: {left}"
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)


def state(run: Path) -> tuple[int, str]:
    try:
        found = json.loads((run / "state.json").read_text())
    except FileNotFoundError:
        return 0, "start"
    return found["iteration"], found["phase"]


def fingerprints(run: Path) -> dict[str, tuple[int, str]]:
    """Time of change and checksum of every file of plays."""
    files = sorted((run / "trajectories").glob("*.parquet"))
    return {file.name: (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files}


def test_a_run_killed_in_its_second_update_goes_on(tmp_path: Path) -> None:
    run, mark = tmp_path / "cut", uuid4().hex
    arguments = ["recipe=mab_tiny", *SMALL, f"root={tmp_path}", "name=cut"]
    command = [sys.executable, "-m", "rmft_verl.main", *arguments]
    log = (tmp_path / "log").open("w")
    begun = subprocess.Popen(
        command, stdout=log, stderr=log, text=True, start_new_session=True, env=os.environ | {MARK: mark}
    )
    try:
        while state(run) != (2, "rollout"):
            assert begun.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
    finally:
        kill(begun, mark)
    assert state(run) == (2, "rollout")  # within the update
    before, rows = fingerprints(run), (run / "metrics.jsonl").read_bytes()
    assert {"eval_000.parquet", "train_001.parquet", "eval_001.parquet", "train_002.parquet"} == set(before)
    played = read_trajectories(run / "trajectories" / "train_002.parquet")

    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on after phase 'rollout' of iteration 2" in done.stdout
    after = fingerprints(run)
    finished = ("eval_000.parquet", "train_001.parquet", "eval_001.parquet")
    assert [after[name] for name in finished] == [before[name] for name in finished]
    again = read_trajectories(run / "trajectories" / "train_002.parquet")
    assert [t.tokens[0].ids_N.tolist() for t in again] == [t.tokens[0].ids_N.tolist() for t in played]
    assert (run / "metrics.jsonl").read_bytes().startswith(rows)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in logged] == [0, 1, 2]
    assert all(row["sync/canary"] < 0.05 and row["sync/moved"] > 0 for row in logged[1:])
    assert state(run) == (2, "save") and (run / "report" / "table.json").exists()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["final", "step_001", "step_002"]

    said = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert said.returncode == 0 and "has finished: its 2 iterations are done" in said.stdout
