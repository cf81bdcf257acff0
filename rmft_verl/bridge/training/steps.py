"""Cuts the samples of an iteration into optimizer steps and collects the metrics of these steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rmft_verl.types import RunError


def cut(n_samples: int, batch: int, world: int, together: int) -> tuple[int, int]:
    """Samples in an optimizer step, and steps in an epoch. A step has about ``batch`` samples, and on each of ``world``
    GPUs a multiple of ``together``, the samples that belong together. Raises ``RunError`` if they are too few for one.
    """
    steps = max(1, round(n_samples / batch))
    multiple = world * together
    size = n_samples // steps // multiple * multiple
    if size == 0:
        raise RunError(
            f"update: only {n_samples} valid samples were kept for {world} GPUs; "
            "see the invalid rate, and raise rollout.scenarios or selection.keep"
        )
    return size, steps


def draw(n_samples: int, n_drawn: int, together: int, seed: int) -> np.ndarray:
    """Draw ``n_drawn`` indices without replacement. Runs of ``together`` samples stay whole and in order."""
    runs = np.random.default_rng(seed).permutation(n_samples // together)[: n_drawn // together]
    return (runs[:, None] * together + np.arange(together)).ravel()


def order(n_rows: int, size: int, world: int, together: int, epochs: int, seed: int) -> np.ndarray:
    """The rows of an update as verl splits them: GPU after GPU, on each step after step, every row once an epoch in a
    new order. The ``size`` samples of a step are the same for any ``world``. Shape (epochs * n_rows,).
    """
    rng = np.random.default_rng([seed, 1])
    runs_E_R = np.array([rng.permutation(n_rows // together) for _ in range(epochs)])
    rows = runs_E_R[:, :, None] * together + np.arange(together)
    return rows.reshape(-1, world, size // world).transpose(1, 0, 2).ravel()


def entries(size: int, together: int) -> dict[str, Any]:
    """Batch entries that configure verl's training loop: steps of ``size`` samples, in the order of the rows."""
    return {
        "mini_batch_size": size,
        "global_batch_size": size,
        "force_group_size": together,  # rows that verl keeps in one micro-batch
        "epochs": 1,  # the rows hold them all
        "dataloader_kwargs": {"shuffle": False},
    }


def outcome(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Loss, gradient norm, steps, peak memory and the method's own metrics, from verl's lists with one value per step.

    Raises ``RunError`` if a loss or a gradient norm is not finite.
    """
    losses = np.array(metrics["loss"], dtype=float)
    norms = np.array(metrics["grad_norm"], dtype=float)
    if not (np.isfinite(losses).all() and np.isfinite(norms).all()):
        raise RunError(
            f"update: loss {losses[-1]} or gradient norm {norms[-1]} is not finite; the run stops before the "
            "weights are used. Lower update.lr or update.max_grad_norm"
        )
    own = {key: float(np.mean(values)) for key, values in metrics.items() if key.startswith("update/")}
    return own | {
        "update/loss": float(losses.mean()),
        "update/loss_first": float(losses[0]),
        "update/loss_last": float(losses[-1]),
        "update/grad_norm": float(norms.mean()),
        "update/steps": float(len(losses)),
        "update/gpu_memory_gib": float(np.max(metrics["perf/max_memory_allocated_gb"])),
    }
