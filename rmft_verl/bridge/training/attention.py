"""Attention of packed dialogues without flash-attn: each dialogue alone, by torch's causal kernel.

verl packs the dialogues of a micro-batch into one row, so that nothing is computed for padding. Of such a row
transformers' own SDPA computes every pair of tokens under a mask of that size. Here a dialogue meets only itself and
only its past, so no mask is needed, and the kernel leaves out the half that a mask would hide.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rmft_verl.bridge.verl_config import PACKED
from rmft_verl.types import RunError

PADDED = (
    "packed dialogues cannot be trained on here; pad them: verl.actor_rollout_ref.model.use_remove_padding=false "
    "verl.actor_rollout_ref.model.override_config.attn_implementation=sdpa"
)


def attend(
    module: torch.nn.Module,
    query_B_H_S_D: torch.Tensor,
    key_B_K_S_D: torch.Tensor,
    value_B_K_S_D: torch.Tensor,
    attention_mask: None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention of a layer: the mixed values, shape (B, S, H, D), and no weights.

    A packed row (B = 1) is cut where ``position_ids`` starts again. Of padded rows the padding comes last and is not
    seen by what precedes it. Raises ``RunError`` for attention sinks and for a row without positions.
    """
    if kwargs.get("s_aux") is not None:
        raise RunError(f"{type(module).__name__} has attention sinks, which {PADDED}")
    lengths = _lengths(query_B_H_S_D, kwargs)
    split = (each.split(lengths, dim=2) for each in (query_B_H_S_D, key_B_K_S_D, value_B_K_S_D))
    mixed = [
        _alone(query, key, value, dropout, scaling, sliding_window, softcap).transpose(1, 2)
        for query, key, value in zip(*split, strict=True)
    ]
    return torch.cat(mixed, dim=1), None


def _lengths(query_B_H_S_D: torch.Tensor, kwargs: dict[str, Any]) -> list[int]:
    """Tokens of each dialogue of a packed row."""
    rows, _, length, _ = query_B_H_S_D.shape
    if rows > 1:
        return [length]
    if kwargs.get("position_ids") is None:
        raise RunError(f"this model hides the positions of its tokens from its attention, without which {PADDED}")
    starts = (kwargs["position_ids"][0] == 0).nonzero()[:, 0].tolist()
    return [end - start for start, end in zip(starts, [*starts[1:], length], strict=True)]


def _alone(
    query_B_H_N_D: torch.Tensor,
    key_B_K_N_D: torch.Tensor,
    value_B_K_N_D: torch.Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Causal attention within one dialogue, of the last ``window`` tokens if that is given. Shape (B, H, N, D)."""
    heads, tokens = query_B_H_N_D.shape[1:3]
    mask: torch.Tensor | None = None
    if softcap is not None or (window is not None and window < tokens):
        place = torch.arange(tokens, device=query_B_H_N_D.device)
        back = place[:, None] - place
        mask = (back >= 0) & (back < (window or tokens))
    if softcap is not None and mask is not None:
        repeats = heads // key_B_K_N_D.shape[1]
        key, value = (each.repeat_interleave(repeats, dim=1) for each in (key_B_K_N_D, value_B_K_N_D))
        scores = softcap * torch.tanh(query_B_H_N_D @ key.mT * scaling / softcap)
        weights = scores.where(mask, float("-inf")).softmax(-1, dtype=torch.float32).to(value.dtype)
        return torch.dropout(weights, dropout, train=True) @ value
    return scaled_dot_product_attention(
        query_B_H_N_D,
        key_B_K_N_D,
        value_B_K_N_D,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=heads != key_B_K_N_D.shape[1],
    )


AttentionInterface.register(PACKED, attend)  # transformers builds no mask for a name that has none registered
