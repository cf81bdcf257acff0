"""verl's training batches of sampled dialogues. The ids and the mask are the sampler's own, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from rmft_verl.algo.method import Column
from rmft_verl.bridge.training.allowed import ALLOWED, packed
from rmft_verl.config import Config
from rmft_verl.types import Tokens

COUNTED = "counted"
"""The column that says whether a sample's tokens count in means over tokens."""


def training_batch(
    config: Config,
    samples: Sequence[Tokens],
    columns: Mapping[str, Column],
    old: Sequence[torch.Tensor] | None = None,
    temperature: float = 1.0,
    entropy: bool = False,
) -> TensorDict:
    """One jagged row per sample, and the configuration, which tells the worker its loss. The response is all that
    follows the first prompt.

    ``loss_mask`` marks the tokens that verl counts for means, ``sampled_mask`` those whose log-probabilities the loss
    reads. Columns with one value per token are aligned with the response, as is ``old_log_probs``.

    ``old``: log-probabilities of each sample under the model that played, shape (N,). Position j is of token j + 1.
    """
    starts = [tokens.prompt_length for tokens in samples]
    rows = _rows(samples)
    sampled = rows["loss_mask"].unbind()
    counted = columns.get(COUNTED, [1.0] * len(samples))
    counts = [mask * int(count) for mask, count in zip(sampled, counted, strict=True)]
    rows |= {"sampled_mask": rows["loss_mask"], "loss_mask": _jagged(counts)}
    ids = rows["input_ids"].unbind()
    responses = {
        "prompts": [row[:start] for row, start in zip(ids, starts, strict=True)],
        "responses": [row[start:] for row, start in zip(ids, starts, strict=True)],
        "response_mask": [mask[start:] for mask, start in zip(sampled, starts, strict=True)],
    }
    if old is not None:
        responses["old_log_probs"] = [row[start - 1 : -1].float() for row, start in zip(old, starts, strict=True)]
    for name, values in columns.items():
        if isinstance(values[0], np.ndarray):
            pairs = zip(values, starts, strict=True)
            responses[name] = [torch.tensor(value[start:]).float() for value, start in pairs]  # type: ignore[index]
        else:
            rows[name] = torch.tensor(values, dtype=torch.float32)
    rows |= {key: _jagged(values) for key, values in responses.items()}
    names = ",".join(columns)  # a string, as verl spreads a list over the rows
    return _batch(rows, config=config, temperature=temperature, calculate_entropy=entropy, columns=names)


def plain_batch(samples: Sequence[Tokens], temperature: float) -> TensorDict:
    """A batch without a loss, to compute log-probabilities."""
    return _batch(_rows(samples), temperature=temperature, compute_loss=False)


def _rows(samples: Sequence[Tokens]) -> dict[str, torch.Tensor]:
    restricted = any(tokens.allowed for tokens in samples)
    rows = {ALLOWED: _jagged([packed(tokens.allowed) for tokens in samples])} if restricted else {}
    return rows | {
        "input_ids": _jagged([torch.tensor(tokens.ids_N, dtype=torch.long) for tokens in samples]),
        "loss_mask": _jagged([torch.tensor(tokens.sampled_N, dtype=torch.long) for tokens in samples]),
        "position_ids": _jagged([torch.arange(len(tokens.ids_N)) for tokens in samples]),
    }


def _batch(rows: dict[str, torch.Tensor], **entries: Any) -> TensorDict:
    return tu.get_tensordict(rows, non_tensor_dict=entries)


def _jagged(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def sampled_logprobs(rows: Sequence[torch.Tensor], samples: Sequence[Tokens]) -> list[torch.Tensor]:
    """Log-probabilities of the sampled tokens of each sample, from verl's rows.

    Position j of verl's row i is the log-probability of token j + 1.
    """
    masks = [torch.tensor(tokens.sampled_N) for tokens in samples]
    return [row[:-1][mask[1:]].float() for row, mask in zip(rows, masks, strict=True)]
