"""A vLLM worker extension that receives weights by a socket in the run's own temporary directory."""

from __future__ import annotations

from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from rmft_verl.bridge.cluster.private import own_socket


class SamplerExtension(vLLMColocateWorkerExtension):
    """verl's weight receiver with that socket."""

    def _get_zmq_handle(self) -> str:
        return own_socket(super()._get_zmq_handle())
