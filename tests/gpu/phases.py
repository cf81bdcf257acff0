"""Time the phases of an iteration on this machine: rollout, update, sync with its canary. Trains on what was played.

python tests/gpu/phases.py [key=value ...]      over recipe=mab_qwen3
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.types import Batch, RolloutRequest


def main(arguments: list[str]) -> None:
    start = time.monotonic()
    prepared = prepare(load_config(["recipe=mab_qwen3", *arguments]))
    config = prepared.config
    backend = start_backend(prepared, Path(tempfile.mkdtemp()))
    backend.sync(0)
    print(f"start-up {time.monotonic() - start:.1f} s")
    generator = prepared.env_class.Generator(**config.env.options)
    rng = np.random.default_rng(0)
    requests = [
        RolloutRequest(scenario, i, i)
        for scenario in [generator.draw(rng) for _ in range(config.rollout.scenarios)]
        for i in range(config.rollout.rollouts)
    ]
    for version in (1, 2):  # the first pass warms up
        start = time.monotonic()
        played = backend.rollout(requests, version - 1)
        seconds = time.monotonic() - start
        tokens = sum(int(tokens.sampled_N.sum()) for t in played for tokens in t.tokens)
        print(f"rollout {seconds:.1f} s, {len(played)} dialogues, {tokens / seconds:,.0f} sampled tok/s")
        start = time.monotonic()
        kept = played[: config.rollout.scenarios * config.selection.keep]
        updated = backend.update(Batch(kept, range(len(kept))), seed=version)
        seconds = time.monotonic() - start
        speed = updated["update/tokens"] / seconds
        print(f"update {seconds:.1f} s, {speed:,.0f} tok/s, peak {updated['update/gpu_memory_gib']:.1f} GiB on a GPU")
        start = time.monotonic()
        print(f"sync {backend.sync(version)} in {time.monotonic() - start:.2f} s")
    backend.close()


if __name__ == "__main__":
    main(sys.argv[1:])
