"""Checks after every sync, on sampled dialogues, that the sampler computes with the trainer's weights."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from rmft_verl.bridge.backend import StaleSamplerError
from rmft_verl.bridge.cluster.faults import silence
from rmft_verl.types import Tokens

SURE = 5.0
"""Standard errors between the slope and 1/2 from which on the sampler is said to be stale."""

FEW = 20
"""With fewer tokens the slope's standard error says nothing."""


def sampler_logprobs(clients: Sequence[Any], probe: Sequence[Tokens], patience: float) -> list[list[torch.Tensor]]:
    """For each client, that of one server: its log-probability of every sampled token of each dialogue, at
    temperature 1.

    Raises ``RunError`` if a sampler has not answered after ``patience`` seconds.
    """

    async def ask(client: Any, tokens: Tokens) -> torch.Tensor:
        output = await _generate(client, tokens.ids_N.tolist(), prompt_logprobs=0)
        # Row j is the log-probability of token j + 1; the last row is padding.
        rows = torch.tensor(output.extra_fields["prompt_logprobs"][:-1], dtype=torch.float32)[:, 0]
        return rows[torch.tensor(tokens.sampled_N)[1:]]

    async def ask_all() -> list[list[torch.Tensor]]:
        found = await asyncio.gather(*[ask(client, tokens) for client in clients for tokens in probe])
        return [list(found[i : i + len(probe)]) for i in range(0, len(found), len(probe))]

    return _in_time(ask_all(), patience)


def check_cache(clients: Sequence[Any], tokens: Tokens, patience: float, version: int) -> None:
    """Raise ``StaleSamplerError`` if a sampler's prefix cache has a part of a dialogue that was played before the sync.

    Raises ``RunError`` if a sampler has not answered after ``patience`` seconds.
    """

    async def ask_all() -> list[int]:
        prompt = tokens.ids_N[:-1].tolist()
        found = await asyncio.gather(*[_generate(client, prompt) for client in clients])
        return [output.extra_fields["num_cached_tokens"] or 0 for output in found]

    cached = max(_in_time(ask_all(), patience))
    if cached:
        raise StaleSamplerError(
            f"canary after sync {version}: the sampler's prefix cache still has {cached} tokens of a dialogue that was "
            "played before the sync, computed with the old weights"
        )


async def _generate(client: Any, prompt: list[int], **options: Any) -> Any:
    sampling = {"max_tokens": 1, "temperature": 1.0} | options
    return await client.generate(request_id=uuid4().hex, prompt_ids=prompt, sampling_params=sampling)


def _in_time(work: Any, patience: float) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(work, patience)

    try:
        return asyncio.run(limited())
    except asyncio.TimeoutError as error:
        raise silence("canary", patience) from error


def slope(now: torch.Tensor, before: torch.Tensor, seen: torch.Tensor) -> tuple[float, float]:
    """Of what the sampler has moved, ``seen - before``, on what the trainer has, ``now - before``; its standard error.

    A fresh sampler has a slope of 1, a stale one of 0. Both kernels round, and the rounding of ``before`` is in both
    differences, so that small updates draw either slope towards 1/2, from their own side. The regression has a
    constant, for errors that all tokens share. The standard error is robust to unequal variances (HC1). Shapes: (N,).
    """
    moved_N, shown_N = (now - before).double(), (seen - before).double()
    moved_N, shown_N = moved_N - moved_N.mean(), shown_N - shown_N.mean()
    total = (moved_N**2).sum().item()
    if len(now) < FEW or total == 0:
        return 0.5, float("inf")
    found = (moved_N * shown_N).sum().item() / total
    squares = (moved_N**2 * (shown_N - found * moved_N) ** 2).sum().item()
    return found, (squares * len(now) / (len(now) - 2)) ** 0.5 / total


def judge(
    trainer: Sequence[torch.Tensor],
    sampler: Sequence[torch.Tensor],
    before: Sequence[torch.Tensor] | None,
    tolerance: float,
    version: int,
) -> dict[str, float]:
    """Mean absolute differences in nats per token, and the ``slope``. Raises ``StaleSamplerError`` if sampler and
    trainer do not match.

    The two may differ by at most ``tolerance``, since their kernels round differently. ``before`` is the trainer before
    the update: a sampler whose slope is surely nearer to 0 than to 1 is stale.
    """
    now, seen = torch.cat(list(trainer)), torch.cat(list(sampler))
    gap = (now - seen).abs().mean().item()
    metrics = {"sync/canary": gap}
    if not gap <= tolerance:
        raise StaleSamplerError(
            f"canary after sync {version}: sampler and trainer differ by {gap:.4f} nats per token on {len(now)} "
            f"sampled tokens, more than canary_tolerance={tolerance}. The sampler does not hold the trainer's weights, "
            "or computes in a lower precision: check the sync before raising canary_tolerance"
        )
    if before is not None:
        old = torch.cat(list(before))
        metrics["sync/moved"] = (now - old).abs().mean().item()
        found, error = slope(now, old, seen)
        if found + SURE * error < 0.5:
            raise StaleSamplerError(
                f"canary after sync {version}: the update moved the log-probabilities of {len(now)} tokens, and the "
                f"sampler shows {found:.3f} +- {error:.3f} of that (1 = all): it computes with the weights before the "
                "update"
            )
        if np.isfinite(error):
            metrics |= {"sync/slope": found, "sync/slope_error": error}
    return metrics


def write_probe(path: Path, probe: Sequence[Tokens], before: Sequence[torch.Tensor] | None) -> None:
    """Write the dialogues of the next check and the trainer's log-probabilities before the update."""
    arrays: dict[str, np.ndarray] = {"prompts": np.array([tokens.prompt_length for tokens in probe], dtype=np.int64)}
    for i, tokens in enumerate(probe):
        arrays |= {f"ids_{i}": tokens.ids_N, f"mask_{i}": tokens.mask_N}
    for i, row in enumerate(before or ()):
        arrays[f"before_{i}"] = row.numpy()
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options


def read_probe(path: Path) -> tuple[list[Tokens], list[torch.Tensor] | None]:
    """What ``write_probe`` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        prompts = arrays["prompts"].tolist()
        probe = [Tokens(arrays[f"ids_{i}"], arrays[f"mask_{i}"], length) for i, length in enumerate(prompts)]
        if "before_0" not in arrays:
            return probe, None
        return probe, [torch.from_numpy(arrays[f"before_{i}"]) for i in range(len(prompts))]
