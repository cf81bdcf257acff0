"""verl's FSDP engine with four changes: logits only at tokens that need them, of few tokens at a time, a warm-up
counted in optimizer steps, and merged adapters that are sent unrounded.

Most tokens of a dialogue are prompts: a fifth or less was sampled, and one in forty if replies are answer lines alone.
The logits of the others (a row of the vocabulary each, in several copies) would take most of an update's memory and
much of its time, and nothing reads them.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch.distributed.tensor import DTensor
from torch.utils.hooks import RemovableHandle
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional
from verl.utils.device import get_device_id
from verl.utils.experimental.torch_functional import FusedLinearForPPO
from verl.utils.fsdp_utils import merged_lora_context, normalize_peft_param_name, offload_fsdp_model_to_cpu
from verl.utils.model import convert_weight_keys
from verl.utils.torch_functional import logprobs_from_logits
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine_workers import ActorRolloutRefWorker

from rmft_verl.bridge.checksum import Checksum, counted
from rmft_verl.bridge.cluster.private import note_shared_memory, own_socket
from rmft_verl.bridge.shapes import AT_ONCE, CHUNK
from rmft_verl.bridge.training import attention as attention  # registers itself with transformers
from rmft_verl.bridge.training.allowed import Restricted
from rmft_verl.bridge.training.reshard import own_part

SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier_scale")
"""Keys of a model's configuration by which it changes the logits of its head. Those are computed at once."""


class DialogueEngine(FSDPEngineWithLMHead):
    """Returns ``log_probs`` and ``entropy`` in verl's shapes, with 0 where the next token is not marked.

    ``sampled_mask`` marks tokens, or ``loss_mask`` in a batch without it. verl's own code computes all logits for
    sequence parallelism, fused kernels, outputs other than these two, and batches without a marked token.
    """

    optimizer_config: Any
    _marked_B_S: torch.Tensor | None = None
    """Positions of the current micro-batch whose logits are needed, in the shape of the model's ``input_ids``."""
    _chunked: tuple[torch.Tensor, float] | None = None
    """Tokens at these positions (M,) and the temperature, if their logits are computed in chunks."""
    _restricted: Restricted | None = None
    """The marked tokens that were drawn from a part of the vocabulary."""
    _hidden_M_H: torch.Tensor

    def initialize(self) -> None:
        super().initialize()
        for config in (self.module.config, self.model_config.hf_config):
            vars(config).pop("attn_implementation", None)  # ours would be saved with the model, and nobody else has it
        self.watch(self.module)

    def watch(self, module: Any) -> list[RemovableHandle]:
        """Make the output head of ``module`` see only the marked positions, and few of them at a time."""
        head = module.get_output_embeddings()
        config = module.config.get_text_config()
        self._divisible = type(head) is torch.nn.Linear and head.bias is None
        self._divisible &= not any(getattr(config, key, None) not in (None, 1, 1.0) for key in SCALED)
        # Before FSDP's own hook, which frees the gathered weights.
        return [head.register_forward_pre_hook(self._pick), head.register_forward_hook(self._score, prepend=True)]

    def _build_lr_scheduler(self, optimizer: torch.optim.Optimizer) -> Any:
        """verl's scheduler without its warm-up: it takes one step per update, which is many optimizer steps."""
        self._rise = self.optimizer_config.lr_warmup_steps
        self.optimizer_config = dataclasses.replace(self.optimizer_config, lr_warmup_steps=0)
        return super()._build_lr_scheduler(optimizer)

    def optimizer_step(self) -> float:
        """verl's step. The first n = ``lr_warmup_steps`` steps by Adam's count use 1/n, 2/n, ... of the rate."""
        states = list(self.optimizer.state.values())
        taken = int(states[0]["step"]) if states else 0
        share = min(1.0, (taken + 1) / self._rise) if self._rise else 1.0
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share
        norm: float = super().optimizer_step()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return norm

    def _merged_lora_per_tensor_param(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The merged weights as they are. verl sends bfloat16, which a sampler in float32 would keep; one in bfloat16
        rounds by itself, as it does without adapters.
        """
        with merged_lora_context(self.module, backup_adapters=True):
            merged = convert_weight_keys(normalize_peft_param_name(self.module.state_dict()), self.module)
            for name, weight in merged.items():  # each a copy: the base comes back when this block ends
                here = weight.detach().to(get_device_id())  # from the CPU, where it is offloaded to
                yield name, here.full_tensor() if isinstance(here, DTensor) else here.clone()
        if self._is_offload_param:
            offload_fsdp_model_to_cpu(self.module)

    def _pick(self, head: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
        hidden_B_S_H = inputs[0]
        if self._marked_B_S is None:
            return inputs
        hidden_M_H = hidden_B_S_H[self._marked_B_S]
        if self._chunked is None:
            return (hidden_M_H.unsqueeze(0),)
        self._hidden_M_H = hidden_M_H
        return (hidden_M_H[None, :1],)  # nobody reads its logits

    def _score(self, head: torch.nn.Module, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        """In place of the logits: log-probability and entropy of each marked token. Shape (1, M, 2)."""
        if self._chunked is None:
            return logits
        labels_M, temperature = self._chunked
        hidden_M_H, restricted = self._hidden_M_H, self._restricted
        del self._hidden_M_H
        if restricted is None:
            return _both(FusedLinearForPPO(CHUNK)(hidden_M_H, head.weight, labels_M, temperature))[None]
        among = restricted.outcome(restricted.scores(hidden_M_H, head.weight) / temperature, labels_M)
        found_M_2 = hidden_M_H.new_zeros(len(labels_M), 2, dtype=torch.float32)
        found_M_2 = found_M_2.index_put((restricted.places_R,), _both(among))
        free_M = restricted.free_M(len(labels_M))
        if free_M.any():
            whole = FusedLinearForPPO(CHUNK)(hidden_M_H[free_M], head.weight, labels_M[free_M], temperature)
            found_M_2 = found_M_2.masked_scatter(free_M[:, None], _both(whole))
        return found_M_2[None]

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, outputs = super().prepare_model_inputs(micro_batch)
        self._marked_B_S = self._chunked = None
        if not self._dense(micro_batch):
            self._marked_B_S = _marked(micro_batch, inputs["input_ids"])
            marked_N = _next(micro_batch)
            self._restricted = Restricted.of(micro_batch, marked_N)
            temperatures_M = _temperatures(micro_batch)[marked_N]
            same = bool((temperatures_M == temperatures_M[0]).all())
            if self._divisible and same and (self._restricted or len(temperatures_M) > AT_ONCE):
                labels_M = outputs["input_ids_rmpad_rolled"][: len(marked_N)][marked_N]
                self._chunked = labels_M, max(1e-8, float(temperatures_M[0]))
        return inputs, outputs

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, Any]:
        if self._marked_B_S is None:
            return super().prepare_model_outputs(output, output_args, micro_batch, logits_processor_func)
        self._marked_B_S = None
        marked_N = _next(micro_batch)
        entropy = tu.get_non_tensor_data(micro_batch, "calculate_entropy", default=False)
        if self._chunked is not None:
            values = dict(zip(("log_probs", "entropy"), output.logits.squeeze(0).unbind(-1), strict=True))
            self._chunked = None
        else:
            values = self._of_logits(output.logits.squeeze(0), output_args, micro_batch, entropy)
        if not entropy:
            values.pop("entropy", None)
        offsets = micro_batch["input_ids"].offsets()
        return {
            key: torch.nested.nested_tensor_from_jagged(
                torch.zeros(len(marked_N), dtype=value.dtype, device=value.device).masked_scatter(marked_N, value),
                offsets,
            )
            for key, value in values.items()
        }

    def _of_logits(
        self, logits_M_V: torch.Tensor, output_args: dict[str, Any], micro_batch: TensorDict, entropy: bool
    ) -> dict[str, torch.Tensor]:
        """Log-probability, and if asked for entropy, of each marked token. Shapes (M,)."""
        marked_N = _next(micro_batch)
        if isinstance(logits_M_V, DTensor):
            logits_M_V = logits_M_V.full_tensor()
        if not output_args["temperature_is_one"]:
            logits_M_V = logits_M_V / _temperatures(micro_batch)[marked_N].clamp(min=1e-8).to(logits_M_V.dtype)[:, None]
        labels_M = output_args["input_ids_rmpad_rolled"][: len(marked_N)][marked_N]
        own = not entropy and self._restricted is None  # nothing else reads these logits
        values = {"log_probs": logprobs_from_logits(logits_M_V, labels_M, inplace_backward=own)}
        if entropy:
            values["entropy"] = torch_functional.entropy_from_logits(logits_M_V)
        if (restricted := self._restricted) is not None:
            scores_R_C = logits_M_V[restricted.places_R[:, None], restricted.ids_R_C].float()
            for key, among_R in zip(("log_probs", "entropy"), restricted.outcome(scores_R_C, labels_M), strict=True):
                if key in values:
                    values[key] = values[key].float().index_put((restricted.places_R,), among_R)
        return values

    def _dense(self, micro_batch: TensorDict) -> bool:
        others = ("use_fused_kernels", "distillation_use_topk", "calculate_sum_pi_squared")
        nothing_asked = not _next(micro_batch).any()
        return (
            self.use_ulysses_sp
            or nothing_asked
            or any(tu.get_non_tensor_data(micro_batch, key, default=False) for key in others)
        )


def _both(of_M: Sequence[torch.Tensor]) -> torch.Tensor:
    """Log-probability and entropy of tokens side by side. Shape (M, 2)."""
    return torch.stack([value.float() for value in of_M], dim=-1)


def _next(micro_batch: TensorDict) -> torch.Tensor:
    """Whether the token after each token is marked, rows concatenated. Shape (N,). A row's first token never is."""
    key = "sampled_mask" if "sampled_mask" in micro_batch else "loss_mask"  # without a loss there is only the latter
    return torch.roll(micro_batch[key].values(), -1).bool()


def _marked(micro_batch: TensorDict, ids_B_S: torch.Tensor) -> torch.Tensor:
    marked_N, offsets = _next(micro_batch), micro_batch["input_ids"].offsets()
    if len(ids_B_S) == 1:  # rows concatenated, then padding
        return torch.nn.functional.pad(marked_N, (0, ids_B_S.shape[1] - len(marked_N)))[None]
    rows = torch.nested.nested_tensor_from_jagged(marked_N.long(), offsets)
    return torch.nested.to_padded_tensor(rows, padding=0, output_size=tuple(ids_B_S.shape)).bool()


def _temperatures(micro_batch: TensorDict) -> torch.Tensor:
    """The temperature of each token, rows concatenated. Shape (N,)."""
    temperature, ids = micro_batch["temperature"], micro_batch["input_ids"]
    if not isinstance(temperature, torch.Tensor):
        return torch.full((len(ids.values()),), float(temperature), device=ids.values().device)
    return temperature.float().repeat_interleave(ids.offsets().diff())


class DialogueWorker(ActorRolloutRefWorker):
    """verl's worker. Importing its module in the worker process registers the engine above with verl.

    It must not be called ``Worker``: verl looks for its own base class by that name.
    """

    _sent = Checksum()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        """verl's. What is loaded then lives as long as the process: no collection looks at it again (half a second)."""
        super().init_model()
        gc.collect()
        gc.freeze()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_as(self, local_path: str, contents: list[str]) -> None:
        """verl's ``save_checkpoint`` of the named contents alone: a state needs no gathered copy of the model."""
        self.actor.engine.checkpoint_manager.checkpoint_save_contents = contents
        self.save_checkpoint(local_path)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def load_as(self, local_path: str, contents: list[str]) -> None:
        """verl's ``load_checkpoint`` of the named contents alone, whatever number of ranks has written them."""
        engine = self.actor.engine
        engine.checkpoint_manager.checkpoint_load_contents = contents
        with own_part(Path(local_path), contents, engine.module) as found:
            self.load_checkpoint(str(found))

    @property
    def rollout(self) -> Any:
        """verl's sender of weights, with its socket in the run's own directory and a checksum of what it sends."""
        return self._rollout

    @rollout.setter
    def rollout(self, sender: Any) -> None:
        if sender is not None:
            sender.zmq_handle = own_socket(sender.zmq_handle)
            sender.update_weights = partial(self._send, sender.update_weights)
        self._rollout = sender

    async def _send(self, send: Any, weights: Iterator[tuple[str, torch.Tensor]], **options: Any) -> None:
        self._sent = Checksum()
        await send(counted(weights, self._sent), **options)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def give_back(self) -> None:
        """Free the gradients of the last step, and return freed memory to the system: the sampler needs it next."""
        self.actor.engine.optimizer_zero_grad()
        gc.collect()
        with suppress(OSError, AttributeError):  # a system without glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def sent(self) -> tuple[int, int]:
        """The checksum of the weights that were sent last."""
        return self._sent.value


note_shared_memory()


# verl's own engine has the same keys, and ``register`` accepts each key once.
for _backend in ("fsdp", "fsdp2"):
    EngineRegistry._engines["language_model"][_backend]["cuda"] = DialogueEngine
