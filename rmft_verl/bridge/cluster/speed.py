"""How fast this machine's CPU is, by a tenth of a second of work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache

import torch

from rmft_verl.bridge.precision import cpu_dtype


@lru_cache(maxsize=1)
def measured() -> tuple[float, float]:
    """Floating-point operations of matrix products in the numbers that this machine computes in, and bytes copied, a
    second on all its cores. Other load on it counts as slowness.
    """
    kind = getattr(torch, cpu_dtype())
    left, right = torch.ones(512, 1024, dtype=kind), torch.ones(1024, 1024, dtype=kind)
    source = torch.ones(2**23)
    target = torch.empty_like(source)
    products, copies = _fastest(lambda: left @ right), _fastest(lambda: target.copy_(source))
    return 2 * left.numel() * right.shape[1] / products, 2 * 4 * source.numel() / copies


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of ten calls."""
    best = math.inf
    for _ in range(10):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
