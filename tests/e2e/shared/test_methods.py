"""Every method that ships, two iterations of its CPU form on verl and vLLM, one after another on one backend."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.config import Config
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import find_recipes, load_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import FileTracker, read_metrics
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.train.trainer import Trainer

pytestmark = pytest.mark.e2e

SMALL = ["env.options.horizon=[8]", "rollout.scenarios=2", "rollout.rollouts=4", "update.batch=4", "eval.scenarios=4"]
CONTENT = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in find_recipes().items()}
METHODS = sorted(
    name
    for name, keys in CONTENT.items()
    if "env" not in keys and keys.get("update", {}).get("loss") not in ("regret", "dpt")  # those are for numbers
)
SAMPLES = {
    "keep_all": 8,
    "proportional": 8,
    "distill_ucb": 8,
    "dpo": 8,
    "grpo": 8,
    "grpo_og": 8,
    "grpo_stg": 8,
    "grpo_alg": 8,
}
"""Dialogues in an update of two scenarios with four plays, all of them valid; 4 where half is kept."""


def configured(method: str) -> Config:
    keep = 4 if method in ("keep_all", "distill_ucb") else 2
    rounds = [] if method == "one_round" else ["iterations=2"]
    return load_config([f"recipe=mab_tiny+{method}", *SMALL, f"selection.keep={keep}", *rounds])


def train(config: Config, backend: VerlBackend, root: Path) -> RunDir:
    """One run of ``config`` from the base, on a backend that is up."""
    backend._actor.load_checkpoint(str(backend._base))
    backend._config, backend._probe, backend._before = config, [], None
    run = RunDir.create(root, "run", OmegaConf.to_yaml(OmegaConf.structured(config)))
    env_class = prepare(config).env_class
    watch = lambda name, episodes: contextlib.nullcontext(lambda episodes, tokens: None)  # noqa: E731
    Trainer(config, env_class, backend, run, FileTracker(run.metrics), watch).train(lambda n, row: None)
    return run


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains(method: str, shared: tuple[Prepared, VerlBackend], tmp_path: Path) -> None:
    config = configured(method)
    run = train(config, shared[1], tmp_path)
    rows = read_metrics(run.metrics)
    assert [row["iteration"] for row in rows] == list(range(config.iterations + 1))
    for n, row in enumerate(rows[1:], start=1):
        played = read_trajectories(run.trajectories("train", n))
        invalid = sum(not play.valid for play in played)
        most = SAMPLES.get(method, 4)
        least = {"dpo": 2, "proportional": 1}.get(method, most - 2 * invalid)  # plays of equal regret are no pair
        assert least <= row["update/samples"] + row["update/dropped"] <= most
        assert np.isfinite([row["update/loss"], row["update/grad_norm"]]).all() and row["update/grad_norm"] > 0
        assert ("rollout/credit" in row) == method.startswith("grpo")
        assert row["sync/canary"] < row["sync/moved"], "the model that plays is not the one that was trained"
        assert {play.policy_version for play in played} == ({-1} if method == "distill_ucb" else {n - 1})
    assert (run.checkpoints / "final" / "config.json").exists()
