"""vLLM worker extension for CPUs, named in ``rollout.engine_kwargs.vllm.worker_extension_cls``."""

from __future__ import annotations

from typing import Any

import torch
import vllm.model_executor.layers.utils as layer_utils
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p

_pack = layer_utils.dispatch_cpu_unquantized_gemm


def _pack_a_copy(layer: Any, remove_weight: bool) -> None:
    # vLLM's CPU backend multiplies with a packed copy of each weight and drops the original, so that verl's in-place
    # weight sync would change nothing and the sampler would stay on the old weights without an error.
    _pack(layer, remove_weight=False)


layer_utils.dispatch_cpu_unquantized_gemm = _pack_a_copy


_forward = TopKTopPSampler.forward_cpu


def draw(logits: torch.Tensor, generators: dict[int, torch.Generator]) -> torch.Tensor:
    """One token a row of ``logits`` by the inverse of its distribution function, from one number of its generator.

    vLLM draws a number for every token of the vocabulary, twice; with one seed a request nothing of that is parallel.
    """
    chances = logits.softmax(dim=-1, dtype=torch.float32).cumsum(dim=-1, dtype=torch.float64)
    numbers = [torch.rand((), generator=generators[row], dtype=torch.float64) for row in range(len(logits))]
    whole = chances[:, -1]
    below = torch.minimum(torch.stack(numbers) * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    # The first token above the number, so never one without a chance.
    return torch.searchsorted(chances, below[:, None], right=True)[:, 0]


def _draw_seeded(
    self: TopKTopPSampler,
    logits: torch.Tensor,
    generators: dict[int, torch.Generator],
    k: torch.Tensor | None,
    p: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if len(generators) != len(logits) or self.logprobs_mode.startswith("processed"):
        return _forward(self, logits, generators, k, p)
    return draw(apply_top_k_top_p(logits, k, p), generators), None


TopKTopPSampler.forward_cpu = _draw_seeded


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's weight receiver with the device it expects somebody else to have set, and weights packed anew."""

    def update_weights_from_ipc(self, *args: Any, **kwargs: Any) -> Any:
        self.device = torch.device("cpu")
        received = super().update_weights_from_ipc(*args, **kwargs)
        for layer in self.model_runner.model.modules():
            if hasattr(layer, "cpu_linear"):
                _pack_a_copy(layer, remove_weight=False)
        return received
