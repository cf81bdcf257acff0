"""Trajectories as verl training batches. The ids and the mask are the sampler's own, unchanged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from rmft_verl.types import Trajectory


def sft_batch(trajectories: Sequence[Trajectory]) -> TensorDict:
    """One row a trajectory, jagged: ``input_ids``, ``loss_mask`` (1 on sampled tokens) and ``position_ids``.

    Raises ``ValueError`` for a trajectory that no model sampled.
    """
    ids, masks, positions = [], [], []
    for trajectory in trajectories:
        if trajectory.tokens is None:
            raise ValueError(f"a trajectory of {trajectory.player!r} has no sampled tokens to train on")
        ids.append(torch.tensor(trajectory.tokens.ids_N, dtype=torch.long))
        masks.append(torch.tensor(trajectory.tokens.mask_N, dtype=torch.long))
        positions.append(torch.arange(len(trajectory.tokens.ids_N)))
    return tu.get_tensordict(
        {"input_ids": _jagged(ids), "loss_mask": _jagged(masks), "position_ids": _jagged(positions)},
        non_tensor_dict={"temperature": 1.0, "loss": "sft"},
    )


def _jagged(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def sampled_logprobs(log_probs: torch.Tensor, trajectories: Sequence[Trajectory]) -> list[torch.Tensor]:
    """Log-probabilities of the sampled tokens of each trajectory, from verl's jagged output.

    verl's row i, position j is the log-probability of token j + 1.
    """
    rows = []
    for row, trajectory in zip(log_probs.unbind(), trajectories, strict=True):
        assert trajectory.tokens is not None
        mask = torch.tensor(trajectory.tokens.mask_N, dtype=torch.bool)
        rows.append(row[:-1][mask[1:]].float())
    return rows
