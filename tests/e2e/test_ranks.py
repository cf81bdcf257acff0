"""Two ranks of the trainer (FSDP2 on gloo) and two replicas of the sampler on a CPU, beside one of each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real_run import SMALL, environment, litter, plays

pytestmark = [pytest.mark.e2e, pytest.mark.soak]


def run(root: Path, ranks: int, iterations: int) -> subprocess.CompletedProcess[str]:
    words = [f"hardware.gpus_per_node={ranks}", f"iterations={iterations}", "eval.scenarios=8", "update.batch=4"]
    command = [sys.executable, "-m", "rmft_verl.main", *SMALL, *words, "checkpoint.every=1"]
    return subprocess.run(
        [*command, f"root={root}", "name=run"], capture_output=True, text=True, timeout=600, env=environment()
    )


def rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]


def test_two_ranks_play_as_one_does_train_and_go_on(tmp_path: Path) -> None:
    before = litter()
    for ranks in (1, 2):
        done = run(tmp_path / str(ranks), ranks, iterations=1)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = (plays(tmp_path / name / "run") for name in ("1", "2"))
    for name in ("eval_000.parquet", "train_001.parquet"):  # before the first update
        assert two[name] == one[name]
    alone, together = (rows(tmp_path / name)[-1] for name in ("1", "2"))
    for key in ("update/samples", "update/steps", "update/tokens"):
        assert together[key] == alone[key]
    for row in (*rows(tmp_path / "2"), alone):
        assert row["sync/weights"] == 1
    assert abs(together["sync/slope"] - 1) < 0.05 and together["sync/canary"] < 0.05

    refused = run(tmp_path / "2", 1, iterations=2)
    assert refused.returncode == 2 and "hardware.gpus_per_node" in refused.stderr, refused.stderr
    longer = run(tmp_path / "2", 2, iterations=2)
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert plays(tmp_path / "2" / "run").items() >= two.items()
    assert rows(tmp_path / "2")[-1]["sync/weights"] == 1
    assert not litter() - before
