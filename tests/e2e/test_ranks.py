"""Two ranks of the trainer (FSDP2 on gloo) and two replicas of the sampler on a CPU beside one; then the other way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real_run import SMALL, environment, litter, plays

MIXED = "verl.actor_rollout_ref.actor.fsdp_config.mixed_precision"
FLOAT32 = (
    *(f"{MIXED}.+{kind}=fp32" for kind in ("param_dtype", "reduce_dtype", "output_dtype")),
    "verl.actor_rollout_ref.rollout.dtype=float32",
)

STRUCTURED = ("rollout.structured=true", "env.options.answer=action_only", "env.options.horizon=[8]")

pytestmark = [pytest.mark.e2e, pytest.mark.soak]


def run(root: Path, ranks: int, iterations: int, *further: str) -> subprocess.CompletedProcess[str]:
    words = [f"hardware.gpus_per_node={ranks}", f"iterations={iterations}", "eval.scenarios=16", "update.batch=4"]
    command = [sys.executable, "-m", "rmft_verl.main", *SMALL, *FLOAT32, *words, *further, "checkpoint.every=1"]
    return subprocess.run(
        [*command, f"root={root}", "name=run"], capture_output=True, text=True, timeout=600, env=environment()
    )


def rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("further", [(), STRUCTURED], ids=["free", "structured"])
def test_two_ranks_play_as_one_does_train_and_go_on(further: tuple[str, ...], tmp_path: Path) -> None:
    before_all = litter()
    for ranks in (1, 2):
        done = run(tmp_path / str(ranks), ranks, 1, *further)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = (plays(tmp_path / name / "run") for name in ("1", "2"))
    for name in ("eval_000.parquet", "train_001.parquet"):  # before the first update
        assert two[name] == one[name]
    alone, together = (rows(tmp_path / name)[-1] for name in ("1", "2"))
    for key in ("update/samples", "update/steps", "update/tokens"):
        assert together[key] == alone[key]
    for key in ("update/loss", "update/loss_first", "update/loss_last", "update/grad_norm"):
        assert together[key] == pytest.approx(alone[key], rel=1e-5)
    for row in (*rows(tmp_path / "2"), alone):
        assert row["sync/weights"] == 1
    assert abs(together["sync/slope"] - 1) < 0.05 and together["sync/canary"] < 0.05

    for before, ranks in ((2, 1), (1, 2)):  # each goes on with as many as the other had
        longer = run(tmp_path / str(before), ranks, 2, *further)
        assert longer.returncode == 0, longer.stdout + longer.stderr
        assert f"hardware.gpus_per_node={before}, now {ranks}: it goes on" in " ".join(longer.stderr.split())
    assert plays(tmp_path / "2" / "run").items() >= two.items() and plays(tmp_path / "1" / "run").items() >= one.items()
    for row in (rows(tmp_path / name)[-1] for name in ("1", "2")):
        assert row["iteration"] == 2 and row["sync/weights"] == 1 and row["sync/canary"] < 0.05
    assert not litter() - before_all
