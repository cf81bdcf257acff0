"""The one loss function given to verl's workers. It branches on the batch, because verl's workers must not be given a
new function between steps."""

from __future__ import annotations

from typing import Any

from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import sft_loss


def loss(model_output: dict[str, Any], data: TensorDict, dp_group: Any = None) -> tuple[Any, dict[str, Any]]:
    """The loss named in the batch's ``loss`` entry. ``sft``: mean cross-entropy over the sampled tokens."""
    kind = tu.get_non_tensor_data(data=data, key="loss", default="")
    return _LOSSES[kind](config=None, model_output=model_output, data=data, dp_group=dp_group)


_LOSSES = {"sft": sft_loss}
