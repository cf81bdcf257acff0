"""Our FSDP engine around a plain model on one CPU: verl's micro-batches and backward pass, our log-probabilities.

Only the sharding is missing, so that a test reads gradients as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from verl.utils import tensordict_utils as tu
from verl.utils.torch_functional import entropy_from_logits
from verl.workers.config import ActorConfig
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from rmft_verl.algo import METHODS
from rmft_verl.algo.method import Samples
from rmft_verl.bridge.training.batches import training_batch
from rmft_verl.bridge.training.engine import DialogueEngine
from rmft_verl.bridge.training.losses import loss
from rmft_verl.config import Config
from rmft_verl.types import Batch, Tokens

VOCABULARY = 61


def small_model() -> Qwen3ForCausalLM:
    """A random Qwen3 in float32 whose predictions are far from uniform."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    return Qwen3ForCausalLM(config).float()


def dialogues(n: int, seed: int = 0, replies: int = 3) -> list[Tokens]:
    """Random ids; prompts, replies and observations of 2 to 7 tokens, ending with a reply."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        lengths = rng.integers(2, 8, size=2 * replies)
        mask = np.repeat(np.tile([0, 1], replies), lengths)
        made.append(Tokens(rng.integers(VOCABULARY, size=len(mask)), mask.astype(np.int8), int(lengths[0])))
    return made


def actor_config(**changes: Any) -> ActorConfig:
    return ActorConfig(strategy="fsdp2", rollout_n=1, use_dynamic_bsz=True, **changes)


@contextmanager
def one_process(directory: Path) -> Iterator[None]:
    """The process group that the engine asks how many it is with."""
    store = torch.distributed.FileStore(str(directory / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def make_engine(kind: type[FSDPEngineWithLMHead], model: Any) -> Any:
    """An engine of one process whose module is ``model`` itself, not sharded."""
    engine = object.__new__(kind)
    engine.module, engine._autocast_dtype, engine.scaler = model, torch.float32, None
    engine.engine_config = SimpleNamespace(entropy_checkpointing=False, use_no_sync_for_gradient_accumulation=True)
    engine.engine_config.entropy_from_logits_with_chunking = False
    engine.use_ulysses_sp, engine.ulysses_device_mesh, engine.ulysses_sequence_parallel_size = False, None, 1
    engine.pad_to_length, engine._get_packed_pad_size = False, lambda size: 0
    engine.compute_entropy_from_logits = entropy_from_logits
    return engine


def configured(**update: Any) -> Config:
    config = Config()
    config.update = dataclasses.replace(config.update, **update)
    return config


def training_rows(
    config: Config,
    samples: Sequence[Tokens],
    plays: Sequence[int] | None = None,
    old: Sequence[torch.Tensor] | None = None,
    **options: Any,
) -> Any:
    """verl's batch of ``samples`` by the method of ``config``; sample i is of play ``plays[i]``."""
    drawn = Samples(samples, list(range(len(samples)) if plays is None else plays), [0] * len(samples), Batch([], []))
    method = METHODS[config.update.loss]
    batch = training_batch(config, samples, method.columns(drawn, config, None), old, **options)
    tu.assign_non_tensor(batch, force_group_size=method.together)
    return batch


def train(model: Any, batch: Any, actor: ActorConfig | None = None, most_tokens: int = 10_000) -> tuple[Any, ...]:
    """One optimizer step's loss, gradients and metrics as verl computes them, and the number of micro-batches."""
    engine = make_engine(DialogueEngine, model)
    hooks = engine.watch(model)
    tu.assign_non_tensor(
        batch,
        global_batch_size=len(batch),
        use_remove_padding=False,
        use_fused_kernels=False,
        use_dynamic_bsz=True,
        max_token_len_per_gpu=most_tokens,
    )
    model.zero_grad()
    output = engine.forward_backward_batch(batch, loss_function=partial(loss, actor=actor))
    for hook in hooks:
        hook.remove()
    metrics = {key: value.aggregate() for key, value in output["metrics"].items()}
    return sum(output["loss"]), gradients(model), metrics, len(output["loss"])


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def gradient_of(model: Any, value: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    value.backward()
    return gradients(model)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative to the length of ``expected``."""
    return float((found - expected).norm() / expected.norm())


def verl_rows(model: Any, samples: Sequence[Tokens], temperature: float = 1.0) -> list[torch.Tensor]:
    """Of each sample, shape (N,), by transformers alone: position j is of token j + 1, the last of none."""
    rows = []
    for tokens in samples:
        ids = torch.tensor(tokens.ids_N, dtype=torch.long)
        logits = model(ids[None]).logits[0] / temperature
        rows.append(logits.log_softmax(-1).gather(1, ids.roll(-1)[:, None])[:, 0])
    return rows


def each_logprobs(model: Any, samples: list[Tokens], reduce: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """``reduce`` of every sample's sampled log-probabilities, by transformers alone: one sample at a time, unpadded."""
    rows = []
    for tokens in samples:
        ids = torch.tensor(tokens.ids_N, dtype=torch.long)[None]
        logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        rows.append(reduce(logprobs[torch.tensor(tokens.mask_N[1:], dtype=torch.bool)]))
    return torch.stack(rows)
