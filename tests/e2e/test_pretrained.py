"""One iteration of ``mab_smollm2``: a pretrained model through warm-up, structured rollout, update, sync and report."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

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
    "warmup.scenarios=16",
    "warmup.batch=4",
    "warmup.lr=2e-4",
    "rollout.scenarios=2",
    "rollout.rollouts=4",
    "selection.keep=1",
    "rollout.on_invalid=reask",
    "update.batch=2",
    "eval.scenarios=4",
    "name=small",
)


def test_a_pretrained_model_is_warmed_up_and_trained(tmp_path: Path) -> None:
    smollm2.get(smollm2.path())
    arguments = [*SMALL, f"root={tmp_path}"]
    command = [sys.executable, "-m", "rmft_verl.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warm-up first" in done.stdout and "trained" in done.stdout

    base, run = warmed(load_config(arguments)), tmp_path / "small"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1]
    assert rows[1]["sync/canary"] < 0.05 and rows[1]["sync/moved"] > 0 and math.isfinite(rows[1]["update/loss"])
    raw, learnt = (json.loads(line) for line in (base.parents[1] / "metrics.jsonl").read_text().splitlines())
    assert raw["heldout/invalid_rate"] > 0.9 > learnt["heldout/invalid_rate"]
    assert [row["heldout/invalid_rate"] for row in rows] == [0, 0]  # structured; the warm-up was not
    assert rows[1]["rollout/tokens"] == 2 * 4 * 4  # one choice a reply: nothing else is sampled, or trained on
    assert moved(str(smollm2.path()), str(base))
    assert export_run(run, tmp_path / "out").is_dir()  # refused if it equalled the warmed base
