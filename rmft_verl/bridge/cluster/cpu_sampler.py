"""vLLM worker extension for CPUs, named in ``rollout.engine_kwargs.vllm.worker_extension_cls``."""

from __future__ import annotations

from typing import Any

import torch
import vllm.model_executor.layers.utils as layer_utils
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p

from rmft_verl.bridge.cluster.sampler import SamplerExtension

_pack = layer_utils.dispatch_cpu_unquantized_gemm


def _pack_a_copy(layer: Any, remove_weight: bool) -> None:
    # vLLM's CPU backend multiplies with a packed copy of each weight and drops the original. verl's weight sync works
    # in place, so without the original it would change nothing, and the sampler would keep the old weights silently.
    _pack(layer, remove_weight=False)


layer_utils.dispatch_cpu_unquantized_gemm = _pack_a_copy


_forward = TopKTopPSampler.forward_cpu


def draw(logits: torch.Tensor, generators: dict[int, torch.Generator]) -> torch.Tensor:
    """Sample one token per row of ``logits`` by inverse transform, with one random number from the row's generator.

    vLLM draws a number for every token of the vocabulary, twice, and with one seed per request not in parallel.
    """
    chances = logits.softmax(dim=-1, dtype=torch.float32).cumsum(dim=-1, dtype=torch.float64)
    numbers = [torch.rand((), generator=generators[row], dtype=torch.float64) for row in range(len(logits))]
    whole = chances[:, -1]
    below = torch.minimum(torch.stack(numbers) * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    # The first token whose cumulative probability exceeds the number, so never a token of probability 0.
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


class CpuWorkerExtension(SamplerExtension):
    """verl's weight receiver. It also sets the device, which verl assumes to be set, and packs the new weights."""

    def update_weights_from_ipc(self, *args: Any, **kwargs: Any) -> Any:
        self.device = torch.device("cpu")
        received = super().update_weights_from_ipc(*args, **kwargs)
        for layer in self.model_runner.model.modules():
            if hasattr(layer, "cpu_linear"):
                _pack_a_copy(layer, remove_weight=False)
        return received
