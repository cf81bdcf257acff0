"""The end of the shared backend: processes are stopped in every phase, then the engine dies in a weight sync."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from e2e_phases import PHASES, TITLES, phases, processes

from rmft_verl.bridge.cluster import peers
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.setup.prepare import Prepared
from rmft_verl.types import RunError

pytestmark = pytest.mark.e2e

IN_MAKE_TEST = {("rollout", "VLLM::"), ("update", "ray::WorkerDict"), ("sync", "ray::DialogueServer")}


@pytest.fixture
def ready(shared: tuple[Prepared, VerlBackend], tmp_path: Path) -> dict[str, Callable[[], Any]]:
    return phases(*shared, tmp_path)


@pytest.mark.parametrize(
    ("phase", "title"),
    [
        pytest.param(phase, title, marks=() if (phase, title) in IN_MAKE_TEST else pytest.mark.soak)
        for phase in PHASES
        for title in TITLES
    ],
)
def test_a_process_that_is_stopped_is_named(
    ready: dict[str, Callable[[], Any]], phase: str, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not the phase waits for it. Afterwards the process goes on, and so does the backend."""
    monkeypatch.setattr(peers, "STOPPED", 3.0)
    monkeypatch.setattr(peers.Peers, "check", peers.Peers().check)  # one that has seen no other test
    threads, stopped = set(threading.enumerate()), processes(title)
    assert stopped
    for process in stopped:
        process.suspend()
    try:
        with pytest.raises(RunError, match=r"\(process \d+\) has been stopped for 3 s"):
            while True:  # what does not need the process may end before
                ready[phase]()
    finally:
        for process in stopped:
            process.resume()
        for thread in set(threading.enumerate()) - threads:
            thread.join(60)
            assert not thread.is_alive()


def test_an_engine_that_dies_in_a_sync_stops_the_run(
    shared: tuple[Prepared, VerlBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer waits for the engine to take the next tensors, and neither Ray nor verl says that there is none."""
    _, backend = shared
    engines = processes("VLLM::")
    for process in engines:
        process.suspend()  # so that the sync is surely in the middle
    with ThreadPoolExecutor() as pool:
        syncing = pool.submit(backend.sync, 1)
        time.sleep(5)
        assert not syncing.done()
        for process in engines:
            process.kill()
        with pytest.raises(RunError, match=r"vLLM's engine \(process \d+\) has ended|has died \(.*vLLM"):
            syncing.result(timeout=60)
