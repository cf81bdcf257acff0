"""The end of the shared backend: its engine hangs in a rollout, then dies during a weight sync. Both are noticed."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.setup.prepare import Prepared
from rmft_verl.types import RolloutRequest, RunError

pytestmark = pytest.mark.e2e


def test_an_engine_that_hangs_and_one_that_dies_stop_the_run(
    shared: tuple[Prepared, VerlBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, backend = shared
    engines = [p for p in psutil.Process().children(recursive=True) if p.name().startswith("VLLM::")]
    assert engines
    backend.sync(0)
    rollout = dataclasses.replace(backend._config.rollout, timeout=4)
    monkeypatch.setattr(backend, "_config", dataclasses.replace(backend._config, rollout=rollout))
    scenario = prepared.env_class.Generator(**prepared.config.env.options).draw(np.random.default_rng(0))  # type: ignore[call-arg]
    for process in engines:
        process.suspend()
    with pytest.raises(RunError, match=r"no reply within rollout\.timeout=4 s"):
        backend.rollout([RolloutRequest(scenario, 0, 0)], version=0)
    monkeypatch.undo()

    # The trainer waits for the engine to take the next tensors, and nobody tells it that there is none any more.
    with ThreadPoolExecutor() as pool:
        syncing = pool.submit(backend.sync, 1)
        time.sleep(5)
        assert not syncing.done()  # in the middle
        for process in engines:
            process.kill()
        with pytest.raises(RunError, match=r"a process of the run has died .*vLLM"):
            syncing.result()
