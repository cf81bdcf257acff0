"""Sampled dialogues as verl training batches. The ids and the mask are the sampler's own, unchanged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from rmft_verl.types import Tokens


def sft_batch(samples: Sequence[Tokens]) -> TensorDict:
    """One row a sample, jagged: ``input_ids``, ``loss_mask`` (1 on sampled tokens) and ``position_ids``."""
    ids, masks, positions = [], [], []
    for tokens in samples:
        ids.append(torch.tensor(tokens.ids_N, dtype=torch.long))
        masks.append(torch.tensor(tokens.mask_N, dtype=torch.long))
        positions.append(torch.arange(len(tokens.ids_N)))
    return tu.get_tensordict(
        {"input_ids": _jagged(ids), "loss_mask": _jagged(masks), "position_ids": _jagged(positions)},
        non_tensor_dict={"temperature": 1.0, "loss": "sft"},
    )


def _jagged(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def sampled_logprobs(log_probs: torch.Tensor, samples: Sequence[Tokens]) -> list[torch.Tensor]:
    """Log-probabilities of the sampled tokens of each sample, from verl's jagged output.

    verl's row i, position j is the log-probability of token j + 1.
    """
    rows = []
    for row, tokens in zip(log_probs.unbind(), samples, strict=True):
        mask = torch.tensor(tokens.mask_N, dtype=torch.bool)
        rows.append(row[:-1][mask[1:]].float())
    return rows
