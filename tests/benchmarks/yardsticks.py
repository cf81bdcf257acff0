"""The same dialogues without this project and without verl: vLLM's offline ``generate``, and a bare PyTorch loop.

Each runs in a process of its own and replays the iterations in order; the first one warms up, its time counts as well
as anybody's and is dropped by the caller.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from iteration import Iteration

from rmft_verl.setup.prepare import Prepared
from rmft_verl.types import Tokens

ENGINE = (
    "dtype",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "enforce_eager",
    "gpu_memory_utilization",
    "seed",
)
"""What vLLM is told by verl's configuration, and is told here too."""


@dataclass(frozen=True)
class Work:
    """What a yardstick did in one iteration."""

    seconds: float
    tokens: int


@dataclass(frozen=True)
class SFT:
    """The bare loop's settings, those of verl's update."""

    device: str
    model_path: str
    lr: float
    weight_decay: float
    max_grad_norm: float
    epochs: int
    tokens_per_pass: int
    """Most tokens of one forward pass, padding included."""
    gradient_checkpointing: bool
    autocast: bool
    """To bfloat16."""


def generate_offline(prepared: Prepared, iterations: list[Iteration]) -> list[Work]:
    """The rollouts: every reply sampled again at its recorded length, after its recorded prompt."""
    sampler = prepared.verl_config.actor_rollout_ref.rollout
    further = {name: value for name, value in sampler.engine_kwargs.vllm.items() if name != "worker_extension_cls"}
    engine = {"model": prepared.model_path} | {name: sampler[name] for name in ENGINE} | further
    sampling = {"temperature": prepared.config.rollout.temperature, "top_p": prepared.config.rollout.top_p}
    return _in_a_process(_generate, engine, sampling, [iteration.played for iteration in iterations])


def train_bare(prepared: Prepared, iterations: list[Iteration]) -> list[Work]:
    """The updates: the same dialogues, mask, batch, epochs and optimizer settings."""
    sft = _settings(prepared)
    return _in_a_process(_train, sft, [(iteration.trained, iteration.batch) for iteration in iterations])


def _settings(prepared: Prepared) -> SFT:
    update = prepared.config.update
    return SFT(
        prepared.kind,
        prepared.model_path,
        update.lr,
        prepared.verl_config.actor_rollout_ref.actor.optim.weight_decay,
        update.max_grad_norm,
        update.epochs,
        prepared.config.hardware.tokens_per_gpu,
        prepared.verl_config.actor_rollout_ref.model.enable_gradient_checkpointing,
        prepared.verl_config.actor_rollout_ref.rollout.dtype == "bfloat16",
    )


def bare_loop(prepared: Prepared, dialogues: list[Tokens], batch: int) -> Callable[[], Work]:
    """One update of the bare loop a call, in this process."""
    sft = _settings(prepared)
    model, optimizer = _made(sft)
    return lambda: _update(model, optimizer, sft, dialogues, batch)


def _in_a_process(function: Any, *arguments: Any) -> list[Work]:
    """In a fresh process, which gives back its memory and reads the thread settings when its libraries load."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        works: list[Work] = pool.submit(function, *arguments).result()
        return works


def replies(mask_N: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of every sampled reply of a dialogue."""
    edges_N = np.diff(mask_N.astype(int), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges_N == 1).tolist(), np.flatnonzero(edges_N == -1).tolist(), strict=True))


def _generate(engine: dict[str, Any], sampling: dict[str, Any], rollouts: list[list[Tokens]]) -> list[Work]:
    from vllm import LLM

    llm = LLM(**engine, use_tqdm_on_load=False)
    return [_replay(llm, sampling, dialogues) for dialogues in rollouts]


def _replay(llm: Any, sampling: dict[str, Any], dialogues: list[Tokens]) -> Work:
    """In lock-step: one call for the first replies of all dialogues, one for the second replies, and so on."""
    from vllm import SamplingParams

    llm.reset_prefix_cache()
    spans = [replies(tokens.sampled_N) for tokens in dialogues]
    calls: list[tuple[list[Any], list[Any]]] = []
    for turn in range(max(len(span) for span in spans)):
        still = [(tokens, span[turn]) for tokens, span in zip(dialogues, spans, strict=True) if turn < len(span)]
        prompts = [{"prompt_token_ids": tokens.ids_N[:start].tolist()} for tokens, (start, _) in still]
        params = [
            SamplingParams(max_tokens=end - start, ignore_eos=True, detokenize=False, **sampling)
            for _, (start, end) in still
        ]
        calls.append((prompts, params))
    sampled = 0
    start = time.perf_counter()
    for prompts, params in calls:
        outputs = llm.generate(prompts, params, use_tqdm=False)
        sampled += sum(len(output.outputs[0].token_ids) for output in outputs)
    return Work(time.perf_counter() - start, sampled)


def _train(sft: SFT, updates: list[tuple[list[Tokens], int]]) -> list[Work]:
    model, optimizer = _made(sft)
    return [_update(model, optimizer, sft, dialogues, batch) for dialogues, batch in updates]


def _made(sft: SFT) -> tuple[Any, torch.optim.Optimizer]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(sft.model_path, dtype=torch.float32).to(sft.device).train()
    if sft.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model, torch.optim.AdamW(model.parameters(), lr=sft.lr, weight_decay=sft.weight_decay)


def _update(model: Any, optimizer: torch.optim.Optimizer, sft: SFT, dialogues: list[Tokens], batch: int) -> Work:
    """Mean cross-entropy over the sampled tokens of each batch, autocast over float32 weights where the run's is."""
    start, trained = time.perf_counter(), 0
    for epoch in range(sft.epochs):
        order = np.random.default_rng(epoch).permutation(len(dialogues))
        for first in range(0, len(order), batch):
            rows = [dialogues[i] for i in order[first : first + batch]]
            count = sum(int(row.sampled_N.sum()) for row in rows)
            for part in _passes(rows, sft.tokens_per_pass):
                ids, attention, labels = (tensor.to(sft.device) for tensor in _padded(part))
                with torch.autocast(sft.device, dtype=torch.bfloat16, enabled=sft.autocast):
                    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(
                    logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="sum"
                )
                (loss / count).backward()
                trained += sum(len(row.ids_N) for row in part)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), sft.max_grad_norm)
            assert torch.isfinite(norm).item()  # also waits for the device
            optimizer.step()
            optimizer.zero_grad()
    if sft.device == "cuda":
        torch.cuda.synchronize()
    return Work(time.perf_counter() - start, trained)


def _passes(rows: list[Tokens], tokens_per_pass: int) -> Iterator[list[Tokens]]:
    """The rows in order, in parts that fit a forward pass when padded."""
    part: list[Tokens] = []
    longest = 0
    for row in rows:
        longest = max(longest, len(row.ids_N))
        if part and longest * (len(part) + 1) > tokens_per_pass:
            yield part
            part, longest = [], len(row.ids_N)
        part.append(row)
    yield part


def _padded(rows: list[Tokens]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and labels (-100 where nothing is learned), padded on the right."""
    shape = len(rows), max(len(row.ids_N) for row in rows)
    ids, attention, labels = torch.zeros(shape).long(), torch.zeros(shape).long(), torch.full(shape, -100)
    for i, row in enumerate(rows):
        length, row_ids = len(row.ids_N), torch.tensor(row.ids_N, dtype=torch.long)
        ids[i, :length], attention[i, :length] = row_ids, 1
        labels[i, :length] = torch.where(torch.tensor(row.sampled_N), row_ids, -100)
    return ids, attention, labels
