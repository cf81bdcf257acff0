"""What real runs share: every start of verl and vLLM takes most of a minute."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from real_run import SECRET, SECRETS, SMALL, Survivor, Tree, environment, fingerprints, is_open, litter, plays, state

from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prepared, VerlBackend]]:
    """The shipped model on a backend that keeps its base. Tests change its configuration as they need it; those of the
    last file kill its engine.
    """
    options = ["rollout.rollouts=4", "selection.keep=2", "update.batch=8", "update.start=base"]
    prepared = prepare(load_config(["recipe=mab_tiny", *options]))
    backend = start_backend(prepared, tmp_path_factory.mktemp("run"))
    prepared.config.update.start = "current"
    backend.sync(0)
    yield prepared, backend
    backend.close()


@pytest.fixture(scope="session")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Survivor:
    root = tmp_path_factory.mktemp("runs")
    run, log, before = root / "cut", root / "log", litter()
    arguments = [*SMALL, "iterations=2", "eval.scenarios=8", "tracking.wandb=offline", f"root={root}", "name=cut"]
    command = [sys.executable, "-m", "rmft_verl.main", *arguments]
    with pytest.MonkeyPatch.context() as patch:
        for name in SECRETS:
            patch.setenv(name, SECRET)
        begun = Tree(log, arguments)
        try:
            while state(run) != (2, "rollout"):
                assert begun.process.poll() is None, log.read_text()
                time.sleep(0.02)
            opened = is_open(begun)
        finally:
            begun.kill()
        assert state(run) == (2, "rollout"), "was to be killed within the update"
        assert not opened, "takes connections from outside"
        files, sampled, rows = fingerprints(run), plays(run), (run / "metrics.jsonl").read_bytes()
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert not litter() - before  # of the process that was killed neither
    return Survivor(run, command, files, sampled, rows, log.read_text() + done.stdout + done.stderr)
