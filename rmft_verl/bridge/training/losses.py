"""The one loss function given to verl's workers. It hands the method its rows and adds up what the method returns.

verl averages gradients over GPUs, so each GPU divides the sum over its rows by the count over all GPUs and multiplies
it by ``dp_size``. The shares of micro-batches add up to the loss of the optimizer step.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig

from rmft_verl.algo import METHODS
from rmft_verl.algo.method import Rows
from rmft_verl.config import Config


def loss(
    model_output: dict[str, Any], data: TensorDict, dp_group: Any = None, *, actor: ActorConfig | None
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The loss of a micro-batch by the method that the configuration names, and its metrics.

    ``actor``: verl's resolved configuration, bound once, when the workers get this function.
    """
    config: Config = tu.get_non_tensor_data(data, "config", default=None)
    method = METHODS[config.update.loss]
    terms = method.loss(method_rows(model_output, data), config, actor)
    of_group = method.together * data["dp_size"] / data["global_batch_size"]
    of_token = data["dp_size"] / data["batch_num_tokens"]
    value: Any = terms.shared + terms.per_token * of_token + terms.per_group * of_group
    metrics = {
        name: each if isinstance(each, Metric) else Metric(AggregationType.SUM, each * of_group)
        for name, each in terms.metrics.items()
    }
    return value, metrics


def method_rows(output: dict[str, Any], data: TensorDict) -> Rows:
    """verl's jagged rows, reduced to sampled tokens. Position j of verl's rows is of token j + 1."""
    pairs = zip(output["log_probs"].unbind(), data["sampled_mask"].unbind(), strict=True)
    logprobs = [row[:-1][mask[1:].bool()].float() for row, mask in pairs]
    replies = [mask.bool() for mask in data["response_mask"].unbind()]
    columns: dict[str, Any] = {}
    names = {name: name for name in tu.get_non_tensor_data(data, "columns", default="").split(",") if name}
    if "old_log_probs" in data:
        names["old"] = "old_log_probs"
    for name, key in names.items():
        value = data[key]
        if value.is_nested:
            columns[name] = [row[mask] for row, mask in zip(value.unbind(), replies, strict=True)]
        else:
            columns[name] = value
    return Rows(logprobs, columns, output, data)
