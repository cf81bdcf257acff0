"""What a run's trainer and sampler hold in memory, phase by phase. ``setup.fit`` says whether there is as much."""

from __future__ import annotations

from dataclasses import dataclass

from rmft_verl.bridge.shapes import AT_ONCE, CHUNK, WIDTHS, Shape, model_shape
from rmft_verl.config import LoraConfig
from rmft_verl.setup.hosted import KIND
from rmft_verl.setup.prepare import Prepared

GIB = 2.0**30

LOGITS = {"update": 12, "update with entropy": 30, "update on a CPU": 7, "forward": 4, "prompt": 7}
"""Bytes a logit, at most. Autocast computes a log-softmax in float32, which is kept for the gradient: 10 bytes were
measured at temperature 1, 12 at others, 30 with the entropy; on a CPU, where it stays in bfloat16, 7; without a
gradient 4, a row at a time. flash-attn's kernel, where it is installed, keeps less. The last is vLLM's, which takes a
whole prompt at once for its log-probabilities: bfloat16, float32, and a mask.
"""

CHUNKED = {"update": 21, "update with entropy": 30, "update on a CPU": 21, "forward": 13}
"""The same where logits are computed in chunks: measured, with chunks of 512 tokens and 50,000 entries."""

PROCESSES, TRAINER, ENGINE = 2.3, 1.0, 0.9
"""GiB on a CPU that no model explains: driver, server and Ray; the trainer's process; vLLM's.
Chosen so that two recipes come out within 15 % of the peak of their processes' memory (PSS): ``mab_tiny`` 4.9 GiB,
``nsmab_smollm2`` 11.8.
"""


@dataclass(frozen=True)
class Use:
    """What a run's memory depends on. Properties are GiB on each GPU, or on the machine for a run on a CPU."""

    shape: Shape
    lora: LoraConfig
    ranks: int
    shards: int
    tensor_parallel: int
    tokens: int
    """Tokens of one forward pass of the trainer."""
    context: int
    sampled: float
    """Largest share of a dialogue's tokens that is sampled: only these need logits."""
    dense: bool
    """Whether all tokens get logits."""
    fused: bool
    entropy: bool
    gpu_memory: float
    param_offload: bool
    optimizer_offload: bool
    streamed: bool
    """FSDP2's ``offload_policy``: parameters, gradients and moments stay in CPU memory while it trains too."""
    checkpointed: bool
    bucket: float
    batched: int
    """Most tokens that the sampler reads in one step."""
    cache: float
    """GiB of the sampler's cache on a CPU; on a GPU it takes what ``gpu_memory`` leaves."""
    dtype: str = "bfloat16"
    """In which the sampler computes; on a CPU the trainer too."""

    @property
    def trained(self) -> int:
        return self.shape.adapters(self.lora) or self.shape.parameters

    @property
    def width(self) -> int:
        """Bytes of a number that is computed with."""
        return WIDTHS[self.dtype]

    @property
    def state(self) -> dict[str, float]:
        """Parameters, gradients and Adam's moments in float32, sharded."""
        held = self.shape.parameters + self.shape.adapters(self.lora)
        here = 0 if self.streamed else 1 / self.shards / GIB
        return {
            "trainer parameters (fp32)": 4 * held * here,
            "trainer gradients (fp32)": 4 * self.trained * here,
            "trainer Adam moments (fp32)": 8 * self.trained * here,
        }

    @property
    def gathered(self) -> float:
        """What FSDP gathers: the embeddings and two layers."""
        shape = self.shape
        return self.width * (shape.outside + 2 * (shape.parameters - shape.outside) / max(1, shape.layers)) / GIB

    @property
    def activations(self) -> float:
        """The input of each layer, and input and output of each linear map of one, or of all layers."""
        within = sum(self.shape.linears.values()) / (max(1, self.shape.layers) if self.checkpointed else 1)
        return self.width * self.tokens * (self.shape.hidden * self.shape.layers + within) / GIB

    def logits(self, kind: str, tokens: int) -> float:
        """Of a forward pass of ``tokens`` tokens, with what is computed from them."""
        needed = tokens if self.dense else tokens * self.sampled
        most = LOGITS[kind] * needed
        if kind in CHUNKED and self.fused:  # verl's, of all tokens
            most = CHUNKED[kind] * min(tokens, CHUNK)
        elif kind in CHUNKED and not self.dense:
            most = min(most, max(LOGITS[kind] * AT_ONCE, CHUNKED[kind] * CHUNK))
        return most * self.shape.vocabulary / GIB

    @property
    def weights(self) -> float:
        """The sampler's weights."""
        return self.width * self.shape.parameters / self.tensor_parallel / GIB

    @property
    def dialogue(self) -> float:
        """The sampler's cache of one dialogue of full length."""
        return self.shape.cached(self.dtype) / self.tensor_parallel * self.context / GIB

    @property
    def scored(self) -> float:
        """The sampler's logits of a prompt, for the canary."""
        return min(self.context, self.batched) * self.shape.vocabulary * LOGITS["prompt"] / GIB

    @property
    def parts(self) -> dict[str, float]:
        """The trainer at its peak, then the sampler."""
        copies = 1 if self.shape.adapters(self.lora) else 2
        return self.state | {
            "trainer layers at work and their gradients (bf16)": copies * self.gathered,
            "trainer activations (bf16)": self.activations,
            "trainer logits, log-softmax and their gradient": self.logits(
                "update with entropy" if self.entropy else "update", self.tokens
            ),
            "sampler weights (bf16)": self.weights,
            "sampler cache of one dialogue of full length (bf16)": self.dialogue,
        }

    def phases(self, card: float) -> dict[str, float]:
        """Phase -> GiB of a GPU of ``card`` GiB."""
        parameters, _, moments = self.state.values()
        share, kept = self.gpu_memory * card, 0 if self.optimizer_offload else moments
        forward = self.gathered + self.logits("forward", self.tokens)
        trainer = sum(value for part, value in self.parts.items() if part.startswith("trainer"))
        return {
            "it plays": share + kept + (0 if self.param_offload else parameters),
            "it updates, the sampler asleep": trainer,
            "it syncs": parameters + kept + self.weights + self.bucket,
            "the canary compares, the sampler awake": share + kept + parameters + max(forward, self.scored),
        }

    def short(self, card: float) -> float:
        """GiB by which the fullest phase exceeds the card, or the sampler's needs its share; negative = to spare."""
        sampler = self.weights + self.dialogue - self.gpu_memory * card
        return max(max(self.phases(card).values()) - card, sampler)

    @property
    def machine(self) -> dict[str, float]:
        """Part -> GiB of a run on a CPU, where trainer and sampler share the memory and neither sleeps."""
        shape = self.shape
        copies = 1 if shape.adapters(self.lora) else 2  # of all layers: what one has freed is kept for another
        trainer = sum(self.state.values()) + copies * self.width * shape.parameters / GIB + self.activations
        return {
            "trainer": TRAINER + trainer + self.logits("update on a CPU", self.tokens),
            "sampler": ENGINE + self.cache + 2 * self.weights + self.scored,  # vLLM keeps a packed copy
            "driver and servers": PROCESSES,
        }


def use_of(prepared: Prepared) -> Use | None:
    """What the run's memory depends on, raw overrides of verl included; None if its shape is unknown."""
    shape = None if prepared.kind == KIND else model_shape(prepared.model_path)
    if shape is None:
        return None
    config, budget = prepared.config, prepared.budget
    actor, sampler, model = (prepared.verl_config.actor_rollout_ref[key] for key in ("actor", "rollout", "model"))
    fsdp, ranks = actor.fsdp_config, config.hardware.nodes * config.hardware.gpus_per_node
    return Use(
        shape=shape,
        lora=config.model.lora,
        ranks=ranks,
        shards=ranks if fsdp.fsdp_size == -1 else fsdp.fsdp_size,
        tensor_parallel=sampler.tensor_model_parallel_size,
        tokens=actor.ppo_max_token_len_per_gpu,
        context=config.model.context,
        sampled=budget.replies * budget.reply_tokens / budget.total,
        dense=actor.get("ulysses_sequence_parallel_size", 1) > 1,
        fused=bool(model.get("use_fused_kernels")),
        entropy=bool(actor.get("calculate_entropy") or actor.get("entropy_coeff")),
        gpu_memory=sampler.gpu_memory_utilization,
        param_offload=bool(fsdp.param_offload),
        optimizer_offload=bool(fsdp.optimizer_offload),
        streamed=bool(fsdp.get("offload_policy")),
        checkpointed=bool(model.enable_gradient_checkpointing),
        bucket=sampler.checkpoint_engine.update_weights_bucket_megabytes / 1024,
        batched=sampler.max_num_batched_tokens,
        cache=sampler.engine_kwargs.vllm.get("kv_cache_memory_bytes", 0) / GIB,
        dtype=sampler.dtype,
    )
