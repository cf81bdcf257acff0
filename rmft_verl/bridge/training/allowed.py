"""Log-probabilities among the tokens that structured decoding allowed: those of the policy that plays.

A batch carries the allowed tokens in one jagged row a sample, ``ALLOWED``: for each restricted token its place, how
many tokens were allowed and which, then ``END``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from tensordict import TensorDict

ALLOWED = "allowed"
END = -1


def packed(allowed: Mapping[int, Sequence[int]]) -> torch.Tensor:
    """The row of a sample. Shape (L,)."""
    values = [value for place, ids in sorted(allowed.items()) for value in (place, len(ids), *ids)]
    return torch.tensor([*values, END])


def unpacked(row: torch.Tensor) -> dict[int, list[int]]:
    """What ``packed`` was given."""
    values, at, found = row.tolist(), 0, dict[int, list[int]]()
    while values[at] != END:
        place, size = values[at : at + 2]
        found[place] = values[at + 2 : at + 2 + size]
        at += 2 + size
    return found


class Restricted(NamedTuple):
    """The marked tokens of a micro-batch that were drawn from a part of the vocabulary."""

    places_R: torch.Tensor
    """Their positions among the M marked tokens."""
    ids_R_C: torch.Tensor
    """The tokens among which each was drawn, padded with 0."""
    real_R_C: torch.Tensor
    """False for padding."""

    @classmethod
    def of(cls, micro_batch: TensorDict, next_N: torch.Tensor) -> Restricted | None:
        """``next_N``: whether the token after each token is marked, rows concatenated. None if no marked token was."""
        if ALLOWED not in micro_batch:
            return None
        starts, order = micro_batch["input_ids"].offsets().tolist(), (next_N.cumsum(0) - 1).tolist()
        marked = next_N.tolist()
        found = [
            (order[start + place - 1], ids)
            for start, row in zip(starts, micro_batch[ALLOWED].unbind(), strict=False)
            for place, ids in unpacked(row).items()
            if marked[start + place - 1]
        ]
        if not found:
            return None
        widest, device = max(len(ids) for _, ids in found), next_N.device
        padded = torch.tensor([ids + [END] * (widest - len(ids)) for _, ids in found], device=device)
        return cls(torch.tensor([place for place, _ in found], device=device), padded.clamp(min=0), padded != END)

    def free_M(self, n_marked: int) -> torch.Tensor:
        """True for the marked tokens that were drawn from the whole vocabulary."""
        free_M = torch.ones(n_marked, dtype=torch.bool, device=self.places_R.device)
        free_M[self.places_R] = False
        return free_M

    def scores(self, hidden_M_H: torch.Tensor, weight_V_H: torch.Tensor) -> torch.Tensor:
        """The logits of the allowed tokens by the output head alone, in float32. Shape (R, C)."""
        hidden_R_H = hidden_M_H[self.places_R].float()
        return torch.einsum("rh,rch->rc", hidden_R_H, weight_V_H[self.ids_R_C].float())

    def outcome(self, scores_R_C: torch.Tensor, labels_M: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each of these tokens among the allowed ones, and its entropy. Shapes (R,)."""
        logprobs_R_C = scores_R_C.masked_fill(~self.real_R_C, float("-inf")).log_softmax(-1)
        logprobs_R_C = logprobs_R_C.masked_fill(~self.real_R_C, 0.0)
        said_R_C = (self.ids_R_C == labels_M[self.places_R][:, None]) & self.real_R_C
        entropy_R = -(logprobs_R_C.exp() * logprobs_R_C * self.real_R_C).sum(-1)
        return (logprobs_R_C * said_R_C).sum(-1), entropy_R
