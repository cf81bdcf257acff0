"""A process of a real backend dies in each phase: one line names it within a minute, and nothing waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from e2e_phases import PHASES, TITLES, phases, processes

from rmft_verl.bridge.cluster.peers import NAMES
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.types import RunError

pytestmark = [pytest.mark.e2e, pytest.mark.soak]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Prepared, VerlBackend]]:
    prepared = prepare(load_config(["recipe=mab_tiny", "rollout.rollouts=4", "selection.keep=2", "update.batch=8"]))
    backend = start_backend(prepared, tmp_path)
    yield prepared, backend
    backend.close()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("title", TITLES)
def test_a_process_that_dies_is_named(
    started: tuple[Prepared, VerlBackend], phase: str, title: str, tmp_path: Path
) -> None:
    doing = phases(*started, tmp_path)[phase]
    targets = processes(title)
    assert targets
    for process in targets:
        process.suspend()  # so that the phase is surely in the middle, if it needs the process
    with ThreadPoolExecutor() as pool:
        running = pool.submit(doing)
        time.sleep(3)
        for process in targets:
            process.kill()
        killed = time.monotonic()
        with pytest.raises(RunError, match=r"has ended|has died") as said:
            running.result(timeout=60)
            while time.monotonic() - killed < 60:  # what does not need the process may end before
                doing()
    assert time.monotonic() - killed < 60
    assert NAMES[title] in str(said.value) or "vLLM" in str(said.value), said.value
    assert "\n" not in str(said.value)
    psutil.wait_procs(targets, timeout=10)
