"""Builds a tiny model from scratch: tokenizer, then a few minutes of next-token training on the habits' dialogues."""

from __future__ import annotations

import itertools
import math
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rmft_verl.bridge.precision import cpu_dtype
from rmft_verl.labs.tiny.teacher import GAMES, Dialogue, Teacher
from rmft_verl.labs.tiny.tokenizer import END, START, build_tokenizer
from rmft_verl.setup.models import BUILT
from rmft_verl.types import Message

STEPS = {"mab": 1800, "trio": 3600} | dict.fromkeys(BUILT, 1800)
PRACTICE = 0.6
"""Share of the steps in which all habits are equally frequent; the true mixture follows."""
BATCH = {"mab": 8, "trio": 8} | dict.fromkeys(BUILT, 16)
"""Dialogues per step, 2,000 to 3,000 tokens."""
LONGEST = 60.0
"""The greatest count in the games of the built bases."""
PHASES = (0, 6, 20, 60)
"""A built base, whose every round is a prompt of its own, reads one round of each phase of a dialogue: the first ones,
in which its habits part, more often than play has them.
"""
SHARPEN = 1.25
"""Factor on the logits of a finished shipped model, so that sampling at temperature 1 slips less often. A built base
stays the mixture that it learned.
"""
MATRIX_LR = 5e-3
"""Peak learning rate of Muon, for the weights of the layers."""
OTHER_LR = 4e-3
"""Peak learning rate of AdamW, for embeddings and norms."""
ARC, DECIMAL_NORM = 2.0, 2.0
"""Numbers start on an arc of this many radians, as vectors of this length (trained embeddings: about 3)."""


def build(name: str, out: Path, steps: int = 0, seed: int = 0, threads: int = 2) -> None:
    """Train the model ``name`` and put it into the directory ``out``, replacing what is there."""
    import torch

    steps = steps or STEPS[name]
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    tokenizer = _tokenizer(name)
    model = _model(tokenizer)
    if "fol" in GAMES[name] or name in BUILT:
        _order(model, tokenizer, r"\D*(\d\.\d\d)", 1.0)
    if name in BUILT:
        _order(model, tokenizer, r"\D*(\d{1,2})", LONGEST)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters, {len(tokenizer)} tokens", flush=True)
    _train(model, _batches(name, tokenizer, seed, practice=int(PRACTICE * steps)), steps)
    if name not in BUILT:
        with torch.no_grad():
            model.model.norm.weight.mul_(SHARPEN)
    save(model, tokenizer, out)


def _tokenizer(name: str) -> Any:
    texts: list[str] = []
    names: set[str] = set()
    for contexts, count in (("basic", 2000), ("basic_heldout", 500)):
        teacher = Teacher(name, contexts)
        for seed in range(count):
            played = teacher.dialogue(seed)
            names.update(played.scenario.actions)
            for part in _parts(name, played, seed):
                texts += [f"user\n{content}" if role == "user" else content for role, content in part]
            texts.append("assistant\n")
    return build_tokenizer(texts, sorted(names), decimals="fol" in GAMES[name] or name in BUILT)


def _parts(name: str, dialogue: Dialogue, seed: int) -> list[list[Message]]:
    """What the model reads at once: a dialogue as a whole, or a prompt of each phase with its reply."""
    messages = dialogue.messages
    if name not in BUILT:
        return [messages]
    rng = random.Random(f"rounds of {seed}")  # not the teacher's, whose first draw chose the habit
    return [messages[2 * t : 2 * t + 2] for t in itertools.starmap(rng.randrange, itertools.pairwise(PHASES))]


def _model(tokenizer: Any) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _order(model: Any, tokenizer: Any, pattern: str, greatest: float) -> None:
    """Start the embeddings of numbers from 0 to ``greatest``, the tokens of ``pattern``, in order on an arc, so that
    the model learns to compare them in minutes.

    A large model knows the order of numbers from its pre-training; a tiny one would spend its own on it.
    """
    import torch

    weight = model.model.embed_tokens.weight
    with torch.no_grad():
        axes = torch.linalg.qr(torch.randn(weight.shape[1], 2)).Q
        for token, index in tokenizer.get_vocab().items():
            if found := re.fullmatch(pattern, token):
                angle = torch.tensor(ARC * (float(found.group(1)) / greatest - 0.5))
                weight[index] += DECIMAL_NORM * (angle.cos() * axes[:, 0] + angle.sin() * axes[:, 1])


def encode(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Token ids of a dialogue as the chat template renders it; 1 where the assistant speaks (with ``END``), else 0."""
    ids: list[int] = []
    mask: list[int] = []
    for role, content in messages:
        spoken = role == "assistant"
        text = f"{content}{END}" if spoken else f"{START}{role}\n{content}{END}{START}assistant\n"
        piece = _encode(tokenizer, text)
        ids += piece
        mask += [int(spoken)] * len(piece)
    return ids, mask


@lru_cache(maxsize=100_000)
def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text).input_ids)


def _batches(name: str, tokenizer: Any, seed: int, practice: int) -> Iterator[tuple[Any, Any]]:
    """Endless fresh batches of ids and labels (-100 where the assistant does not speak), shape (batch, tokens) each.

    In the first ``practice`` batches the habits take turns, whatever their share.
    """
    import torch

    teacher, seeds = Teacher(name), itertools.count((seed + 1) * 10_000_000)
    for step in itertools.count():
        rows = []
        for i in itertools.islice(seeds, BATCH[name]):
            played = teacher.practice(i) if step < practice else teacher.dialogue(i)
            rows += [encode(tokenizer, part) for part in _parts(name, played, i)]
        ids_B_N = torch.full((len(rows), max(len(ids) for ids, _ in rows)), tokenizer.pad_token_id)
        labels_B_N = torch.full_like(ids_B_N, -100)
        for row, (ids, mask) in enumerate(rows):
            ids_B_N[row, : len(ids)] = torch.tensor(ids)
            labels_B_N[row, : len(ids)] = torch.tensor(
                [i if spoken else -100 for i, spoken in zip(ids, mask, strict=True)]
            )
        yield ids_B_N, labels_B_N


def _train(model: Any, batches: Iterator[tuple[Any, Any]], steps: int) -> None:
    import torch

    matrices = [p for n, p in model.model.layers.named_parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in matrices)]
    if cpu_dtype() == "float32":  # torch's own is in bfloat16, which takes such a CPU longer than the rest of a step
        torch.optim._muon._zeropower_via_newtonschulz = orthogonalized
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_LR, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=OTHER_LR, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    began, losses = time.time(), []
    for step in range(steps):
        ids_B_N, labels_B_N = next(batches)
        scale = min(1.0, (step + 1) / 50, max(0.02, 1.1 * (1 - step / steps)))
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_dtype() == "bfloat16"):
            hidden = model.model(input_ids=ids_B_N).last_hidden_state[:, :-1]
            target = labels_B_N[:, 1:]
            logits = model.lm_head(hidden[target != -100])
        loss = torch.nn.functional.cross_entropy(logits.float(), target[target != -100])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in zip(optimizers, (MATRIX_LR, OTHER_LR), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * scale
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise RuntimeError(f"the loss is {losses[-1]} at step {step}: lower MATRIX_LR or OTHER_LR")
        if step % 50 == 49 or step == steps - 1:
            mean = sum(losses[-50:]) / len(losses[-50:])
            print(f"step {step + 1}/{steps}  loss {mean:.4f}  {time.time() - began:.0f} s", flush=True)


def orthogonalized(gradient: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Muon's Newton-Schulz iteration (Jordan et al. 2024) in the gradient's own precision; the shape stays."""
    linear, cubic, quintic = coefficients
    tall = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if tall else gradient
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = linear * x + (cubic * gram + quintic * gram @ gram) @ x
    return x.T if tall else x


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the model directory in bfloat16 next to ``out`` and swap it in, so that no reader sees half a model."""
    import torch

    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    model.to(torch.bfloat16).save_pretrained(new)
    tokenizer.save_pretrained(new)
    new.chmod(0o755)
    for file in new.iterdir():
        file.chmod(0o644)
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        os.replace(out, old)
        os.replace(new, out)
        shutil.rmtree(old)
    else:
        os.replace(new, out)
