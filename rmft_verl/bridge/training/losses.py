"""The one loss function given to verl's workers. It branches on the batch, because verl's workers must not be given a
new function between steps.

A micro-batch's loss is its share of the optimizer step's: the shares add up to the step's loss over micro-batches, and
average to it over GPUs (verl averages gradients, hence the factor ``dp_size``).
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch.nn.functional import logsigmoid
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss, sft_loss

Loss = tuple[torch.Tensor, dict[str, Any]]


def loss(
    model_output: dict[str, Any], data: TensorDict, dp_group: Any = None, *, actor: ActorConfig | None = None
) -> Loss:
    """The loss named in the batch's ``loss`` entry, a key of ``LOSSES``, with its metrics.

    ``actor``: verl's resolved configuration, bound when the function is given to the workers; ``grpo`` needs it.
    """
    value, metrics = LOSSES[data["loss"]](config=actor, model_output=model_output, data=data, dp_group=dp_group)
    return value, metrics


def sft_by_trajectory(config: Any, model_output: dict[str, Any], data: TensorDict, dp_group: Any = None) -> Loss:
    """sum_i w_i mean_n(-log p_i,n) over the samples i of the optimizer step, by their number; w is ``weight``."""
    means = torch.stack([row.mean() for row in _marked(model_output["log_probs"], data["loss_mask"])])
    return -(data["weight"] * means).sum() * data["dp_size"] / data["global_batch_size"], {}


def dpo(config: Any, model_output: dict[str, Any], data: TensorDict, dp_group: Any = None) -> Loss:
    """-log sigmoid(margin), averaged over pairs (Rafailov et al. 2023), plus ``sft_term`` of the chosen plays' mean
    cross-entropy a token. margin = beta ((log p - ``reference``) of the chosen - the same of the rejected).

    Rows 2i and 2i + 1 are chosen and rejected. ``loss_mask`` marks the sampled tokens of the chosen rows only, so that
    verl's count of it is that of the cross-entropy; ``sampled_mask`` marks those of all rows.
    """
    logp = torch.stack([row.sum() for row in _marked(model_output["log_probs"], data["sampled_mask"])])
    reward = data["beta"] * (logp - data["reference"])
    chosen, rejected = reward[0::2], reward[1::2]
    margin = chosen - rejected
    share = 2 * data["dp_size"] / data["global_batch_size"]
    total = -logsigmoid(margin).sum() * share
    if data["sft_term"]:
        total = total + data["sft_term"] * sft_loss(config, model_output, data, dp_group)[0]
    pairs = {"accuracy": margin > 0, "margin": margin, "chosen": chosen, "rejected": rejected}
    means = {f"dpo/{name}": each.sum() * share for name, each in pairs.items()}
    return total, Metric.from_dict(means, aggregation=AggregationType.SUM)


def _marked(log_probs: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """Log-probabilities of each row's marked tokens, from verl's jagged output: position j is of token j + 1."""
    pairs = zip(log_probs.unbind(), mask.unbind(), strict=True)
    return [row[:-1][marks[1:].bool()].float() for row, marks in pairs]


LOSSES = {"sft": sft_loss, "sft_by_trajectory": sft_by_trajectory, "dpo": dpo, "grpo": ppo_loss}
