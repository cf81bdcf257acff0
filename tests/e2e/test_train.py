"""Whole runs as a user starts them, on the real stack: the recipe, an environment from outside, export, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from real_run import Survivor

from rmft_verl.store.trajectory_file import read_trajectories

pytestmark = pytest.mark.e2e

TOY = """
from dataclasses import dataclass
import numpy as np
from rmft_verl.types import GameSpec, Message, Observation, Oracle, Scenario, StepResult

@dataclass(frozen=True)
class CoinGenerator:
    horizon: int = 3
    def draw(self, rng):
        p = [round(float(p), 3) for p in rng.random(2)]
        return Scenario("coins", self.horizon, ("heads", "tails"), "coins", {"p": p})

class Coins:
    name = "coins"
    Generator = CoinGenerator
    def __init__(self, scenario, seed):
        self.scenario, self.t = scenario, 0
        self.tape = np.random.default_rng(seed).random(scenario.horizon)
        self.spec = GameSpec(2, scenario.horizon, "bernoulli", 0.5)
    def reset(self):
        return Observation((Message("user", "Call heads or tails."),), self.spec, 0)
    def parse(self, text):
        return len(text) % 2  # any text is a call, so that any model can play
    def step(self, action):
        reward = float(self.tape[self.t] < self.scenario.game["p"][action])
        self.t += 1
        if self.t == self.scenario.horizon:
            return StepResult(None, reward, True)
        seen = np.full(2, np.nan); seen[action] = reward
        again = (Message("user", f"It paid {reward:.0f}. Again."),)
        return StepResult(Observation(again, self.spec, self.t, action, seen), reward, False)
    def oracle(self):
        return Oracle(np.tile(self.scenario.game["p"], (self.scenario.horizon, 1)), "pseudo")
"""


COINS_RECIPE = """
name: toy
iterations: 1
env: {name: coins}
env_dirs: [mine]
model: {path: "tiny:mab", context: 512}
rollout: {scenarios: 4, rollouts: 4, reply_tokens: 16}
selection: {keep: 2}
update: {batch: 4, lr: 1.0e-4}
eval: {scenarios: 4}
"""


def rmft(*arguments: str, module: str = "main", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"rmft_verl.{module}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def finished(survivor: Survivor) -> Path:
    """Two iterations of the shipped recipe, made small."""
    assert "trained against base" in survivor.said
    return survivor.run


def test_a_run_leaves_everything_behind(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert all(0 <= row["heldout/invalid_rate"] <= 0.2 for row in rows)
    assert all(row["sync/canary"] < 0.05 for row in rows[1:])
    assert all(row["kept/normalized_regret"] < row["rollout/normalized_regret"] for row in rows[1:])
    for name in ("config.yaml", "verl.yaml", "environment.json", "report/table.txt", "report/regret_curves.png"):
        assert (finished / name).stat().st_size > 0
    assert list((finished / "wandb").glob("offline-run-*"))


def test_trajectories_on_file_are_those_of_the_run(finished: Path) -> None:
    played = read_trajectories(finished / "trajectories" / "train_002.parquet")
    assert len(played) == 8
    assert {trajectory.policy_version for trajectory in played} == {1}
    assert len({trajectory.scenario.id for trajectory in played}) == 2
    held_out = read_trajectories(finished / "trajectories" / "eval_000.parquet")
    assert not {t.scenario.id for t in played} & {t.scenario.id for t in held_out}


def test_report_is_made_again_from_the_files(finished: Path) -> None:
    table = (finished / "report" / "table.txt").read_text()
    (finished / "report" / "table.txt").unlink()
    assert rmft("report", str(finished), module="main.cli").returncode == 0
    assert (finished / "report" / "table.txt").read_text() == table


def test_export_writes_a_model_that_loads_and_refuses_the_base(finished: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = rmft("export", str(finished), str(tmp_path / "model"), module="main.cli")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "model") in done.stdout
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 0
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template

    import shutil

    from rmft_verl.setup.models import tiny_path

    shutil.rmtree(finished / "checkpoints" / "final")
    shutil.copytree(tiny_path("mab"), finished / "checkpoints" / "final")
    refused = rmft("export", str(finished), str(tmp_path / "again"), module="main.cli")
    assert refused.returncode == 2
    assert "equals its base" in refused.stderr
    assert not (tmp_path / "again").exists()


def test_an_environment_outside_the_project_trains(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "coins.py").write_text(TOY)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "coins.yaml").write_text(COINS_RECIPE)
    done = rmft("recipe=coins", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs" / "toy" / "report" / "table.txt").exists()
