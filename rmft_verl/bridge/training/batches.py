"""Sampled dialogues as verl training batches. The ids and the mask are the sampler's own, unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from rmft_verl.types import Tokens


def sft_batch(samples: Sequence[Tokens]) -> TensorDict:
    """One row a sample, jagged: ``input_ids``, ``loss_mask`` (1 on sampled tokens) and ``position_ids``."""
    return _batch("sft", _rows(samples))


def sft_by_trajectory_batch(samples: Sequence[Tokens], plays: Sequence[int]) -> TensorDict:
    """``sft_batch`` with a ``weight`` a row; ``plays[i]`` is the play that sample i is of.

    A row weighs 1 / (rows of its play), scaled to 1 on average: over the batch every play weighs alike.
    """
    rows_of = Counter(plays)
    weights = [len(plays) / len(rows_of) / rows_of[play] for play in plays]
    return _batch("sft_by_trajectory", _rows(samples) | {"weight": torch.tensor(weights)})


def dpo_batch(samples: Sequence[Tokens], reference: Sequence[float], beta: float, sft_term: float) -> TensorDict:
    """Rows 2i and 2i + 1 are the chosen and the rejected play of a pair; ``losses.dpo`` has the entries' meaning.

    ``reference``: log-probability of each row's sampled tokens under the model that played, summed.
    """
    rows = _rows(samples)
    chosen = [mask if i % 2 == 0 else torch.zeros_like(mask) for i, mask in enumerate(rows["loss_mask"].unbind())]
    rows |= {"sampled_mask": rows["loss_mask"], "loss_mask": _jagged(chosen)}
    return _batch("dpo", rows | {"reference": torch.tensor(reference)}, beta=beta, sft_term=sft_term)


def grpo_batch(
    samples: Sequence[Tokens],
    advantages: Sequence[np.ndarray],
    old_logprobs: Sequence[torch.Tensor],
    temperature: float,
    calculate_entropy: bool = False,
) -> TensorDict:
    """What verl's ``ppo_loss`` reads: the response is all that follows the first prompt, trained where sampled.

    ``advantages``: of each token of a sample, shape (N,). ``old_logprobs``: verl's row of a sample, shape (N,), whose
    position j is of token j + 1.
    """
    rows = _rows(samples)
    starts = [tokens.prompt_length for tokens in samples]
    ids, masks = rows["input_ids"].unbind(), rows["loss_mask"].unbind()
    responses = {
        "prompts": [row[:start] for row, start in zip(ids, starts, strict=True)],
        "responses": [row[start:] for row, start in zip(ids, starts, strict=True)],
        "response_mask": [row[start:] for row, start in zip(masks, starts, strict=True)],
        "old_log_probs": [row[start - 1 : -1].float() for row, start in zip(old_logprobs, starts, strict=True)],
        "advantages": [torch.tensor(a[start:]).float() for a, start in zip(advantages, starts, strict=True)],
    }
    rows |= {key: _jagged(values) for key, values in responses.items()}
    return _batch("grpo", rows, temperature=temperature, calculate_entropy=calculate_entropy)


def plain_batch(samples: Sequence[Tokens], temperature: float) -> TensorDict:
    """Rows to ask for log-probabilities of, without a loss."""
    return _batch("", _rows(samples), temperature=temperature, compute_loss=False)


def _rows(samples: Sequence[Tokens]) -> dict[str, torch.Tensor]:
    return {
        "input_ids": _jagged([torch.tensor(tokens.ids_N, dtype=torch.long) for tokens in samples]),
        "loss_mask": _jagged([torch.tensor(tokens.sampled_N, dtype=torch.long) for tokens in samples]),
        "position_ids": _jagged([torch.arange(len(tokens.ids_N)) for tokens in samples]),
    }


def _batch(loss: str, rows: dict[str, torch.Tensor], **entries: Any) -> TensorDict:
    return tu.get_tensordict(rows, non_tensor_dict={"loss": loss, "temperature": 1.0} | entries)


def _jagged(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def sampled_logprobs(rows: Sequence[torch.Tensor], samples: Sequence[Tokens]) -> list[torch.Tensor]:
    """Log-probabilities of the sampled tokens of each sample, from verl's rows.

    verl's row i, position j is the log-probability of token j + 1.
    """
    masks = [torch.tensor(tokens.sampled_N) for tokens in samples]
    return [row[:-1][mask[1:]].float() for row, mask in zip(rows, masks, strict=True)]
