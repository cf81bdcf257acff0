"""A vLLM worker extension that receives weights by a socket in the run's own directory and says whether it has them."""

from __future__ import annotations

from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from rmft_verl.bridge.checksum import DIFFERENT, Checksum
from rmft_verl.bridge.cluster.private import own_socket


class SamplerExtension(vLLMColocateWorkerExtension):
    """verl's weight receiver with that socket."""

    def _get_zmq_handle(self) -> str:
        return own_socket(super()._get_zmq_handle())

    def confirm_weights(self, sent: tuple[int, int]) -> None:
        """Raise ``ValueError`` unless the engine holds the weights of this checksum: verl's servers return nothing."""
        held = Checksum()
        for parameter in self.model_runner.model.parameters():
            held.add(parameter)
        if held.value != tuple(sent):
            raise ValueError(f"{DIFFERENT}: {held.value} instead of {tuple(sent)}")
