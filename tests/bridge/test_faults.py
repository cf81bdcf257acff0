"""Silence and death of what samples, without Ray: one line each, and nothing is left."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from ray import exceptions

from rmft_verl.bridge.cluster import faults, scratch
from rmft_verl.bridge.sampling import progress
from rmft_verl.bridge.training import canary
from rmft_verl.types import RunError, Tokens


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A counter whose answers are ``counter.says()``, where Ray would ask an actor."""
    found = SimpleNamespace(says=lambda: (0, 0), take=SimpleNamespace(remote=lambda: None))

    def get(reference: None, timeout: float) -> Any:
        return found.says()

    monkeypatch.setattr(progress.ray, "get", get)
    return found


@pytest.fixture
def hanging() -> Iterator[Callable[[], None]]:
    done = threading.Event()
    yield lambda: done.wait() and None
    done.set()


def test_sampling_that_says_nothing_is_stopped(counter: Any, hanging: Callable[[], None]) -> None:
    with pytest.raises(RunError, match=r"sampling: no reply within rollout.timeout=0.2 s.*Start again to go on"):
        progress.watch(hanging, counter, None, 0.2)


def test_a_counter_that_does_not_answer_is_silence_too(counter: Any, hanging: Callable[[], None]) -> None:
    def late() -> None:
        raise exceptions.GetTimeoutError

    counter.says = late
    with pytest.raises(RunError, match="no reply within"):
        progress.watch(hanging, counter, None, 0.2)


def test_slow_sampling_goes_on_while_tokens_come(counter: Any) -> None:
    """Four looks, each half a second after the one before, and a patience that two silent ones would end."""
    looks: list[tuple[int, int]] = []
    enough = threading.Event()
    counter.says = lambda: (0, 5)

    def report(episodes: int, tokens: int) -> None:
        looks.append((episodes, tokens))
        if len(looks) == 4:
            enough.set()

    assert progress.watch(lambda: enough.wait() and "played", counter, report, 0.7) == "played"
    assert looks[:4] == [(0, 5)] * 4


def test_a_weight_sync_that_hangs_is_stopped(hanging: Callable[[], None]) -> None:
    with pytest.raises(RunError, match=r"weight sync: no reply within rollout.timeout=0.2 s"):
        progress.within(hanging, "weight sync", 0.2)
    assert progress.within(lambda: 3, "weight sync", 60) == 3
    with pytest.raises(ZeroDivisionError):
        progress.within(lambda: 1 // 0, "weight sync", 60)


def test_a_sampler_that_does_not_answer_the_canary_is_stopped() -> None:
    class Silent:
        async def generate(self, **request: Any) -> Any:
            await asyncio.Event().wait()

    probe = [Tokens(np.array([1, 2], dtype=np.int32), np.array([0, 1], dtype=np.int8), 1)]
    with pytest.raises(RunError, match=r"canary: no reply within rollout.timeout=0.1 s"):
        canary.sampler_logprobs([Silent()], probe, 0.1)


class EngineDeadError(Exception):
    """Named as vLLM's."""


def remote(cause: Exception) -> exceptions.RayTaskError:
    return exceptions.RayTaskError("generate", f"Traceback: {type(cause).__name__}: {cause}", cause)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (exceptions.ActorDiedError(), "ActorDiedError"),
        (exceptions.WorkerCrashedError(), "WorkerCrashedError"),
        (remote(exceptions.ActorDiedError()), "ActorDiedError"),
        (remote(EngineDeadError("died")), "EngineDeadError"),
        (remote(remote(EngineDeadError("died"))), "EngineDeadError"),
        (EngineDeadError("died"), "EngineDeadError"),
    ],
    ids=str,
)
def test_a_death_is_one_line(error: Exception, named: str) -> None:
    @faults.told()
    def work() -> None:
        raise error

    for _ in range(2):  # as a decorator of a method that is called again
        with pytest.raises(RunError, match=rf"a process of the run has died \({named}") as caught:
            work()
        assert "\n" not in str(caught.value) and caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ValueError("a bad request"), remote(ValueError("a bad request"))], ids=str)
def test_other_errors_are_no_death(error: Exception) -> None:
    assert faults.death(error) == ""
    with pytest.raises(type(error)), faults.told():
        raise error


HOLD = """
import os, sys
from _multiprocessing import SemLock
from multiprocessing import shared_memory
from rmft_verl.bridge.cluster.private import note_shared_memory
from rmft_verl.bridge.cluster.scratch import Scratch
scratch = Scratch()
os.environ.update(scratch.environment)
note_shared_memory()
shared = shared_memory.SharedMemory(create=True, size=10)
name = f"loky-{os.getpid()}-ab12"
semaphore = SemLock(0, 1, 1, name="/" + name, unlink=False)
print(scratch.path, shared.name, flush=True)
if sys.stdin.read():
    scratch.close()
"""


def test_the_temporary_directory_goes_with_its_process_however_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("RMFT_VERBOSE", raising=False)

    def hold() -> tuple[subprocess.Popen[str], Path, Path]:
        process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True)
        assert process.stdout is not None
        path, name = process.stdout.readline().split()
        return process, Path(path), Path("/dev/shm") / name

    (closes, first, _), (killed, second, left), (lives, third, used) = hold(), hold(), hold()
    assert {first, second, third} == set(tmp_path.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    closes.communicate("close")
    tree = psutil.Process(killed.pid)  # the process that would remove the shared memory dies as well
    for process in (*tree.children(), tree):
        process.kill()
    killed.wait()
    assert set(tmp_path.iterdir()) == {second, third} and left.exists()
    semaphores = [Path(f"/dev/shm/sem.loky-{process.pid}-ab12") for process in (closes, killed, lives)]
    assert [path.exists() for path in semaphores] == [False, True, True]
    scratch.sweep()
    assert set(tmp_path.iterdir()) == {third} and not left.exists() and used.exists()
    assert [path.exists() for path in semaphores] == [False, False, True]
    lives.communicate("close")
    assert not list(tmp_path.iterdir())


def test_what_a_worker_refuses_is_one_line() -> None:
    refused = remote(RunError("this model cannot be packed"))
    with pytest.raises(RunError) as said, faults.told():
        raise refused.as_instanceof_cause()
    assert str(said.value) == "this model cannot be packed"
