"""A checksum of weights that does not depend on how the sampler joins, splits, orders or pads them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

CHUNK = 2**22
"""Elements summed at a time, which bounds the memory."""
HEAD = "lm_head.weight"
DIFFERENT = "the engine does not hold the weights that were sent"
"""Begins the error of an engine whose checksum is another; only its text comes through vLLM's processes."""


class Checksum:
    """Sums of the bit patterns of all weights, rounded to bfloat16, and of their squares, modulo 2^64."""

    def __init__(self) -> None:
        self.value = (0, 0)

    def add(self, weights: torch.Tensor) -> tuple[int, int]:
        """Add one tensor; returns its own sums. Zeros, such as those that pad a vocabulary, add nothing."""
        first = second = 0
        for part in weights.detach().reshape(-1).split(CHUNK):
            bits = part.to(torch.bfloat16).view(torch.int16).long()
            first, second = first + int(bits.sum()), second + int(bits @ bits if bits.is_cpu else (bits * bits).sum())
        self.value = (self.value[0] + first) % 2**64, (self.value[1] + second) % 2**64
        return first, second


def counted(weights: Iterator[tuple[str, torch.Tensor]], into: Checksum) -> Iterator[tuple[str, torch.Tensor]]:
    """Pass named weights on and add them to ``into``. An output head equal to the input embeddings counts once, since a
    sampler with tied embeddings holds one of them.
    """
    seen = set()
    for name, tensor in weights:
        before = into.value
        sums = tensor.shape, into.add(tensor)
        if name.endswith(HEAD) and sums in seen:
            into.value = before
        if "embed" in name:
            seen.add(sums)
        yield name, tensor
