"""A real run that loses its engine, then a rollout process, then hangs: one line each, nothing left, and it goes on."""

from __future__ import annotations

import os
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from real_run import SMALL, SOAK, Tree, is_local, listening, litter, plays, state

from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.store.run_dir import PHASES
from rmft_verl.types import RunError

pytestmark = pytest.mark.e2e

SECRET = "rmft-secret-6f1d0c2b"
UP = "verl and vLLM are up"
SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY")


def reached(run: Path, edge: tuple[int, str]) -> bool:
    iteration, phase = state(run)
    return (iteration, PHASES.index(phase)) >= (edge[0], PHASES.index(edge[1]))


def test_a_run_that_loses_a_process_stops_in_one_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.delenv("RMFT_VERBOSE", raising=False)
    run, log, before = tmp_path / "run", tmp_path / "log", litter()
    sizes = ["env.options.horizon=[20]", "rollout.scenarios=8", "rollout.rollouts=16", "eval.scenarios=64"]
    arguments = [*SMALL, *sizes, "iterations=1", f"root={tmp_path}", "name=run"]

    def lose(edge: tuple[int, str], word: str, number: signal.Signals, timeout: int = 1800) -> str:
        """Start, send a signal to the processes called ``word`` after ``edge``; returns the last line that was said."""
        tree = Tree(log, [*arguments, f"rollout.timeout={timeout}"])
        said = log.read_text().count(UP)
        try:
            while not reached(run, edge) or log.read_text().count(UP) == said:
                assert tree.process.poll() is None, log.read_text()
                time.sleep(0.02)
            assert not is_open(tree), "takes connections from outside"
            (pid, *_) = tree.named(word)
            os.kill(pid, number)
            assert tree.process.wait() == 2, log.read_text()
        except BaseException:
            tree.kill()
            raise
        assert not tree.gone(), "left processes"
        assert not litter() - before
        return log.read_text().strip().splitlines()[-1]

    said = lose((0, "sync"), "VLLM::EngineCore", signal.SIGKILL)
    assert said.startswith("rmft_verl: a process of the run has died (")
    assert state(run) == (0, "sync") and not plays(run)  # nothing of a phase that was cut is taken for whole
    if SOAK:
        said = lose((0, "log"), "ray::AgentLoopWorker", signal.SIGKILL)
        assert said.startswith("rmft_verl: a process of the run has died (ActorDiedError")
        assert set(plays(run)) == {"eval_000.parquet"}
    said = lose((0, "log"), "VLLM::EngineCore", signal.SIGSTOP, timeout=30)
    assert said.startswith("rmft_verl: ") and "no reply within rollout.timeout=30 s" in said  # in the phase it was in
    measured = plays(run)
    assert set(measured) == {"eval_000.parquet"}

    tree = Tree(log, arguments)
    assert tree.process.wait() == 0, log.read_text()
    assert not tree.gone() and not litter() - before
    assert state(run) == (1, "save") and plays(run).items() >= measured.items()
    for path in [run, *run.rglob("*")]:
        assert not path.stat(follow_symlinks=False).st_mode & stat.S_IWOTH or path.is_symlink(), (
            f"{path} is open to all"
        )
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), f"{path} holds a secret"
    assert SECRET not in log.read_text()


def is_open(tree: Tree) -> dict[str, int]:
    """What takes connections on an address of the network. torch's store always does, for rank 0 of its group."""
    found = listening(tree.pids())
    outside = {where: pid for where, pid in found.items() if not is_local(where)}
    stores = [where for where, pid in outside.items() if pid in tree.named("ray::WorkerDict")]
    return outside if len(stores) > 1 else {where: pid for where, pid in outside.items() if where not in stores}


def test_an_engine_that_dies_during_a_weight_sync_is_noticed(tmp_path: Path) -> None:
    """The trainer waits for the engine to take the next tensors, and nobody tells it that there is none any more."""
    backend = start_backend(prepare(load_config(["recipe=mab_tiny", "rollout.timeout=300"])), tmp_path)
    try:
        backend.sync(0)
        engines = [
            process for process in psutil.Process().children(recursive=True) if process.name().startswith("VLLM::")
        ]
        assert engines
        for process in engines:
            process.suspend()
        with ThreadPoolExecutor() as pool:
            syncing = pool.submit(backend.sync, 1)
            time.sleep(5)
            assert not syncing.done()  # in the middle
            for process in engines:
                process.kill()
            with pytest.raises(RunError, match=r"a process of the run has died .*vLLM"):
                syncing.result()
    finally:
        backend.close()
