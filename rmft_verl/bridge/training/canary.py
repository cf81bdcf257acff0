"""Checks after every sync, on sampled dialogues, that the sampler uses the trainer's weights."""

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

STALE = 0.5
"""The sampler is stale if its distance to the old weights is less than this share of that to the new ones."""


def sampler_logprobs(client: Any, probe: Sequence[Tokens], patience: float) -> list[torch.Tensor]:
    """The sampler's log-probability of every sampled token of each dialogue, at temperature 1.

    Raises ``RunError`` if the sampler has not answered after ``patience`` seconds.
    """

    async def ask(tokens: Tokens) -> torch.Tensor:
        session = uuid4().hex
        output = await client.generate(
            request_id=session,
            prompt_ids=tokens.ids_N.tolist(),
            sampling_params={"max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0},
        )
        client.end(session)
        # Row j is the log-probability of token j + 1; the last row is padding.
        rows = torch.tensor(output.extra_fields["prompt_logprobs"][:-1], dtype=torch.float32)[:, 0]
        return rows[torch.tensor(tokens.sampled_N)[1:]]

    async def ask_all() -> list[torch.Tensor]:
        return list(await asyncio.gather(*[ask(tokens) for tokens in probe]))

    async def ask_in_time() -> list[torch.Tensor]:
        return await asyncio.wait_for(ask_all(), patience)

    try:
        return asyncio.run(ask_in_time())
    except asyncio.TimeoutError as error:
        raise silence("canary", patience) from error


def judge(
    trainer: Sequence[torch.Tensor],
    sampler: Sequence[torch.Tensor],
    before: Sequence[torch.Tensor] | None,
    tolerance: float,
    version: int,
) -> dict[str, float]:
    """Mean absolute differences in nats per token. Raises ``StaleSamplerError`` if sampler and trainer do not match.

    The two may differ by at most ``tolerance``, since their kernels round differently. ``before`` is the trainer before
    the update: a sampler less than half as far from it as from the trainer is stale. (After an update that moves less
    than rounding does, a fresh sampler is about as far from either.)
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
        moved, lag = (now - old).abs().mean().item(), (seen - old).abs().mean().item()
        metrics["sync/moved"] = moved
        if lag < STALE * gap:
            raise StaleSamplerError(
                f"canary after sync {version}: the sampler is {lag:.5f} nats per token from the weights before the "
                f"update and {gap:.5f} from those after it: the sync delivered nothing"
            )
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
