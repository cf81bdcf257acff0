"""vLLM worker extension for CPUs, named in ``rollout.engine_kwargs.vllm.worker_extension_cls``."""

from __future__ import annotations

from typing import Any

import torch
import vllm.model_executor.layers.utils as layer_utils
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

_pack = layer_utils.dispatch_cpu_unquantized_gemm


def _pack_a_copy(layer: Any, remove_weight: bool) -> None:
    # vLLM's CPU backend multiplies with a packed copy of each weight and drops the original, so that verl's in-place
    # weight sync would change nothing and the sampler would stay on the old weights without an error.
    _pack(layer, remove_weight=False)


layer_utils.dispatch_cpu_unquantized_gemm = _pack_a_copy


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's weight receiver with the device it expects somebody else to have set, and weights packed anew."""

    def update_weights_from_ipc(self, *args: Any, **kwargs: Any) -> Any:
        self.device = torch.device("cpu")
        received = super().update_weights_from_ipc(*args, **kwargs)
        for layer in self.model_runner.model.modules():
            if hasattr(layer, "cpu_linear"):
                _pack_a_copy(layer, remove_weight=False)
        return received
