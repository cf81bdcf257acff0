"""One iteration of ``mab_smollm2``, a pretrained model: as the recipe has it, and of the raw model with a warm-up."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rmft_verl.bridge.training.export import export_run, moved
from rmft_verl.setup import smollm2
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.warmup import warmed

pytestmark = pytest.mark.e2e

SMALL = (
    "recipe=mab_smollm2",
    "iterations=1",
    "env.options.horizon=[4]",
    "rollout.scenarios=2",
    "rollout.rollouts=4",
    "selection.keep=1",
    "rollout.on_invalid=reask",
    "update.batch=2",
    "eval.scenarios=4",
    "name=small",
)
WARM = ("model.path=smollm2", "warmup.scenarios=16", "warmup.batch=4", "warmup.lr=2e-4")


def trained(arguments: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    """What the run printed, and its metrics."""
    smollm2.get(smollm2.path())
    smollm2.get_soft(smollm2.path(smollm2.SOFT))
    command = [sys.executable, "-m", "rmft_verl.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    run = Path(arguments[-1].removeprefix("root=")) / "small"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert "trained" in done.stdout and [row["iteration"] for row in rows] == [0, 1]
    assert rows[1]["sync/canary"] < 0.05 and rows[1]["sync/moved"] > 0 and math.isfinite(rows[1]["update/loss"])
    assert [row["heldout/invalid_rate"] for row in rows] == [0, 0]  # structured
    assert rows[1]["rollout/tokens"] == 2 * 4 * 4  # one choice a reply: nothing else is sampled, or trained on
    return done.stdout, rows


def test_a_pretrained_model_is_trained(tmp_path: Path) -> None:
    printed, rows = trained([*SMALL, f"root={tmp_path}"])
    assert "warm-up first" not in printed
    assert rows[1]["update/loss_first"] < 1  # its choices are fairly even
    assert export_run(tmp_path / "small", tmp_path / "out").is_dir()  # refused if it equalled the softened base


def test_a_pretrained_model_is_warmed_up_and_trained(tmp_path: Path) -> None:
    arguments = [*SMALL, *WARM, f"root={tmp_path}"]
    printed, _ = trained(arguments)
    assert "warm-up first" in printed
    base = warmed(load_config(arguments))
    raw, learnt = (json.loads(line) for line in (base.parents[1] / "metrics.jsonl").read_text().splitlines())
    assert raw["heldout/invalid_rate"] > 0.9 > learnt["heldout/invalid_rate"]  # the warm-up is not structured
    assert moved(str(smollm2.path()), str(base))
    assert export_run(tmp_path / "small", tmp_path / "out").is_dir()  # refused if it equalled the warmed base
