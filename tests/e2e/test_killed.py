"""Real runs whose whole process tree is killed, within an update or while vLLM starts, and started again."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from pathlib import Path

import pytest
from real_run import SECRET, SMALL, Survivor, Tree, environment, fingerprints, litter, plays, state

pytestmark = pytest.mark.e2e


def test_a_run_killed_in_its_second_update_goes_on(survivor: Survivor) -> None:
    run = survivor.run
    finished = {"eval_000.parquet", "train_001.parquet", "eval_001.parquet", "train_002.parquet"}
    assert set(survivor.files) == finished
    assert "going on after phase 'rollout' of iteration 2" in survivor.said
    after = fingerprints(run)
    untouched = finished - {"train_002.parquet"}  # its kept plays are noted after the update
    assert [after[name] for name in untouched] == [survivor.files[name] for name in untouched]
    assert plays(run)["train_002.parquet"] == survivor.sampled["train_002.parquet"]
    assert (run / "metrics.jsonl").read_bytes().startswith(survivor.rows)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in logged] == [0, 1, 2]
    assert all(row["sync/canary"] < 0.05 and row["sync/moved"] > 0 for row in logged[1:])
    assert state(run) == (2, "save") and (run / "report" / "table.json").exists()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["final", "step_001", "step_002"]

    again = subprocess.run(survivor.command, capture_output=True, text=True, timeout=200, env=environment())
    assert again.returncode == 0 and "has finished: its 2 iterations are done" in again.stdout


def test_a_run_is_open_to_nobody_and_holds_no_secret(survivor: Survivor) -> None:
    for path in [survivor.run, *survivor.run.rglob("*")]:
        mode = path.stat(follow_symlinks=False).st_mode
        assert not mode & stat.S_IWOTH or path.is_symlink(), f"{path} is open to all"
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), f"{path} holds a secret"
    assert SECRET not in survivor.said


@pytest.mark.soak
def test_a_run_killed_while_its_engine_starts_leaves_nothing_behind_the_next(tmp_path: Path) -> None:
    run, log, before = tmp_path / "cut", tmp_path / "log", litter()
    arguments = [*SMALL, "iterations=1", "eval.scenarios=4", f"root={tmp_path}", "name=cut"]
    begun = Tree(log, arguments)
    try:
        while not begun.named("VLLM::EngineCore"):
            assert begun.process.poll() is None, log.read_text()
            time.sleep(0.02)
        time.sleep(0.3)
    finally:
        begun.kill()
    assert litter() - before and state(run) == (0, "start")
    again = Tree(log, arguments)
    assert again.process.wait() == 0, log.read_text()
    assert not again.gone() and not litter() - before
