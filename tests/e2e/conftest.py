"""A real run that several files look at: every start of verl and vLLM takes most of a minute."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from real_run import SECRET, SECRETS, SMALL, Survivor, Tree, environment, fingerprints, is_open, litter, plays, state


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
