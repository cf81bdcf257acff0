"""The trainer on this machine's device: its losses and gradients against float64, and its speed.

    python tests/gpu/exact.py losses [--json FILE]
    python tests/gpu/exact.py speed model.path=DIRECTORY [key=value ...] [--dialogues 64] [--json FILE]

``losses``: a small random Qwen3 on dialogues of random tokens through our engine, padded and packed, in float32 and
under bfloat16 autocast; distances are relative to the length of the gradient of the same model in float64.
``speed``: tokens a second of verl's training worker on dialogues of a uniform player, and the share of the card's peak
(model FLOPs: 6 a parameter of the layers and token, 4 with adapters; logits at the sampled tokens; attention).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
for folder in ("benchmarks", "bridge"):
    sys.path.insert(0, str(HERE.parent / folder))

LOSSES = ("sft", "dpo", "grpo")


def losses() -> list[dict[str, Any]]:
    """A row for each loss, layout and precision."""
    import cpu_engine
    import torch
    from verl.utils.device import get_device_name

    device = get_device_name()
    rows = []
    with tempfile.TemporaryDirectory() as scratch, cpu_engine.one_process(Path(scratch)):
        for loss in LOSSES:
            exact, gradient = _trained(device, loss, torch.float64, packed=False)
            for packed in (False, True):
                for precision in (torch.float32, torch.bfloat16):
                    found, moved = _trained(device, loss, precision, packed)
                    rows.append(
                        {
                            "device": device,
                            "loss": loss,
                            "packed": packed,
                            "precision": str(precision).removeprefix("torch."),
                            "exact": exact,
                            "found": found,
                            "gradient": cpu_engine.distance(moved.double(), gradient),
                        }
                    )
    return rows


def _trained(device: str, loss: str, precision: Any, packed: bool) -> tuple[float, Any]:
    """Loss and gradient of one step. Below float32 the weights stay in float32, under autocast, as a run has them."""
    import cpu_engine
    import numpy as np
    import torch

    from rmft_verl.bridge.training import attention as attention  # registers itself with transformers
    from rmft_verl.bridge.training.batches import training_batch
    from rmft_verl.bridge.verl_config import PACKED

    samples, config = cpu_engine.dialogues(6), cpu_engine.configured(loss=loss)
    model = cpu_engine.small_model()
    model.config._attn_implementation = PACKED if packed else "sdpa"
    with torch.no_grad():
        old = [row - 0.1 for row in cpu_engine.verl_rows(cpu_engine.small_model(), samples)]
    model = model.to(device, torch.float64 if precision == torch.float64 else torch.float32)
    if loss == "grpo":
        advantages = [np.random.default_rng(i).normal(size=len(each.mask_N)) for i, each in enumerate(samples)]
        rows = training_batch(config, samples, {"advantages": advantages}, old)
    else:
        rows = cpu_engine.training_rows(config, samples, old=old)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        found, gradient, *_ = cpu_engine.train(model, rows, cpu_engine.actor_config(), packed=packed)
    return float(found), gradient.double().cpu()


def speed(overrides: list[str], count: int, repeats: int) -> dict[str, Any]:
    """Tokens a second, and the share of the card's peak if it is a known one."""
    import torch
    import update

    from rmft_verl.bridge.shapes import model_shape
    from rmft_verl.setup.cost import CARDS, forward
    from rmft_verl.setup.prepare import prepare
    from rmft_verl.setup.recipe import load_config

    prepared = prepare(load_config(["recipe=mab_qwen3", *overrides]))
    update.alone(prepared.kind)
    dialogues = update.uniform_dialogues(prepared, count)
    work = update.trainer(prepared, dialogues, packed=True)
    work()  # warms up
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    best, shape = min(seconds), model_shape(prepared.model_path)
    tokens, sampled = sum(len(t.ids_N) for t in dialogues), sum(int(t.sampled_N.sum()) for t in dialogues)
    passes = 2 if prepared.config.model.lora.rank else 3
    assert shape is not None
    flops = passes * forward(shape, tokens, sampled, tokens / len(dialogues) / 2) / best
    name = torch.cuda.get_device_name() if prepared.kind == "cuda" else "CPU"
    peak = next((card.flops for card in CARDS if card.name.split()[-1] in name), None)
    memory = torch.cuda.max_memory_allocated() / 2**30 if prepared.kind == "cuda" else None
    return {
        "device": name,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / best,
        "tflops": flops / 1e12,
        "mfu": flops / peak if peak else None,
        "memory_gib": memory,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("losses", "speed"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--dialogues", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_intermixed_args(arguments)
    found: Any = losses() if options.what == "losses" else speed(options.overrides, options.dialogues, options.repeats)
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
