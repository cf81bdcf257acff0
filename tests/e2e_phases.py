"""What a real backend does in each phase, and its processes by their titles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.env.regret import score
from rmft_verl.setup.prepare import Prepared
from rmft_verl.types import Batch, RolloutRequest

PHASES = ("rollout", "update", "sync", "checkpoint")
TITLES = (
    "ray::WorkerDict",
    "VLLM::",
    "ray::DialogueServer",
)


def processes(title: str) -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if (p.cmdline() or [""])[0].startswith(title)]


def phases(prepared: Prepared, backend: VerlBackend, directory: Path) -> dict[str, Callable[[], Any]]:
    """Phase -> the call. Weights are synced and eight trajectories played first."""
    backend.sync(0)
    scenario = prepared.env_class.Generator(**prepared.config.env.options).draw(np.random.default_rng(0))  # type: ignore[call-arg]
    requests = [RolloutRequest(scenario, i, i) for i in range(8)]
    batch = Batch([score(trajectory) for trajectory in backend.rollout(requests, version=0)], range(8))
    return {
        "rollout": lambda: backend.rollout(requests, version=0),
        "update": lambda: backend.update(batch, seed=0),
        "sync": lambda: backend.sync(1),
        "checkpoint": lambda: backend.save_state(directory / "state"),
    }
