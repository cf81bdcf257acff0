"""A real run whose whole process tree is killed while vLLM starts and in the middle of an update, and started again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from real_run import SMALL, SOAK, Tree, environment, fingerprints, litter, state

from rmft_verl.store.trajectory_file import read_trajectories

pytestmark = pytest.mark.e2e


def test_a_run_killed_in_its_second_update_goes_on(tmp_path: Path) -> None:
    run, log, before_all = tmp_path / "cut", tmp_path / "log", litter()
    arguments = [*SMALL, "iterations=2", "eval.scenarios=4", f"root={tmp_path}", "name=cut"]
    command = [sys.executable, "-m", "rmft_verl.main", *arguments]
    if SOAK:  # while the engine starts its worker
        begun = Tree(log, arguments)
        try:
            while not any("sem.loky" in path for path in litter() - before_all):
                assert begun.process.poll() is None, log.read_text()
                time.sleep(0.02)
            time.sleep(0.3)
        finally:
            begun.kill()
        assert any("psm_" in path for path in litter() - before_all) and state(run) == (0, "start")

    begun = Tree(log, arguments)
    try:
        while state(run) != (2, "rollout"):
            assert begun.process.poll() is None, log.read_text()
            time.sleep(0.02)
    finally:
        begun.kill()
    assert state(run) == (2, "rollout")  # within the update
    before, rows = fingerprints(run), (run / "metrics.jsonl").read_bytes()
    assert {"eval_000.parquet", "train_001.parquet", "eval_001.parquet", "train_002.parquet"} == set(before)
    played = read_trajectories(run / "trajectories" / "train_002.parquet")

    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on after phase 'rollout' of iteration 2" in done.stdout
    assert not litter() - before_all  # of the process that was killed neither
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

    said = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment())
    assert said.returncode == 0 and "has finished: its 2 iterations are done" in said.stdout
