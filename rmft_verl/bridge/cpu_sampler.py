"""vLLM worker extension for CPUs, named in ``rollout.engine_kwargs.vllm.worker_extension_cls``."""

from __future__ import annotations

from typing import Any

import torch
import vllm.model_executor.layers.utils as layer_utils
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension


def _keep_checkpoint_layout(layer: Any, remove_weight: bool) -> None:
    # vLLM's CPU backend packs each weight after loading and drops the original, so that verl's in-place weight sync
    # would change nothing and the sampler would stay on the old weights without an error.
    layer.cpu_linear = torch.nn.functional.linear


layer_utils.dispatch_cpu_unquantized_gemm = _keep_checkpoint_layout


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's weight receiver with the device it expects somebody else to have set."""

    def update_weights_from_ipc(self, *args: Any, **kwargs: Any) -> Any:
        self.device = torch.device("cpu")
        return super().update_weights_from_ipc(*args, **kwargs)
