"""What the settings of vLLM's sampler cost on a CPU: one evaluation's dialogues sampled again under each.

    python tests/benchmarks/sampler.py MODEL PLAYS.parquet [--scenarios 48]

MODEL is a directory, PLAYS a file of a run's trajectories. vLLM's offline ``generate`` replays them in lock-step, each
setting in a process of its own: once to warm up, once measured. The last lines time the draw of a token alone.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "vLLM's defaults (blocks of 128)": {},
    "blocks of 32": {"block_size": 32},
    "blocks of 16": {"block_size": 16},
    "blocks of 32, eager": {"block_size": 32, "enforce_eager": True},
    "blocks of 32, eager, prompts whole": {"block_size": 32, "enforce_eager": True, "enable_chunked_prefill": False},
    "blocks of 32, eager, prompts whole, seeded": {
        "block_size": 32,
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "seeded": True,
    },
    "blocks of 32, eager, float32": {"block_size": 32, "enforce_eager": True, "dtype": "float32"},
}


def replay(model: str, plays: Path, scenarios: int, setting: dict[str, Any]) -> list[Any]:
    """Seconds and tokens of the same work twice."""
    os.environ |= {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    from vllm import LLM
    from yardsticks import _replay

    from rmft_verl.store.trajectory_file import read_trajectories

    seeded = setting.pop("seeded", False)
    whole = {"max_num_batched_tokens": 8192} if setting.get("enable_chunked_prefill") is False else {}
    llm = LLM(model=model, max_model_len=1024, max_num_seqs=64, use_tqdm_on_load=False, **setting, **whole)
    dialogues = [tokens for play in read_trajectories(plays)[:scenarios] for tokens in play.tokens]
    sampling = {"temperature": 1.0} | ({"seed": 1} if seeded else {})
    return [_replay(llm, sampling, dialogues) for _ in range(2)]


def draws() -> None:
    """A token for each of 48 requests over 49,152 entries: as vLLM draws with seeds, and as this project does."""
    import torch

    from rmft_verl.bridge.cluster.cpu_sampler import draw

    logits = torch.randn(48, 49152)
    generators = {i: torch.Generator().manual_seed(i) for i in range(48)}

    def by_exponentials() -> None:
        noise = torch.empty_like(logits)
        noise.exponential_()
        for i, generator in generators.items():
            noise[i].exponential_(generator=generator)
        logits.softmax(-1).div_(noise).argmax(-1)

    for name, once in (("vLLM, seeded", by_exponentials), ("one number a token", lambda: draw(logits, generators))):
        once()
        start = time.perf_counter()
        for _ in range(10):
            once()
        print(f"draw of 48 tokens, {name:20} {100 * (time.perf_counter() - start):8.1f} ms")


def main() -> None:
    from yardsticks import _in_a_process

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("plays", type=Path)
    parser.add_argument("--scenarios", type=int, default=48)
    options = parser.parse_args()
    for name, setting in SETTINGS.items():
        _, work = _in_a_process(replay, options.model, options.plays, options.scenarios, dict(setting))
        print(f"{name:44} {work.seconds:6.1f} s {work.tokens / work.seconds:6.0f} tokens/s", flush=True)
    draws()


if __name__ == "__main__":
    main()
