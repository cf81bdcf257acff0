"""What packing saves in an update: padded rows, packed rows, the bare loop of ``make bench``, in turn, in one process.

    python tests/benchmarks/update.py [key=value ...] [--dialogues 32] [--repeats 7] [--json FILE]

verl's training worker runs alone, without Ray and vLLM, on dialogues of a uniform player (as a warm-up has them). The
three do the same optimizer steps one after the other, each on its own weights, so that other load on the machine meets
all three; seconds are those of the process on all its cores. Ratios are paired.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.algo import METHODS
from rmft_verl.algo.distill import teach
from rmft_verl.algo.method import Samples
from rmft_verl.env import make_generator
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Batch, RolloutRequest, Tokens

DEFAULTS = ["recipe=mab_tiny", "update.epochs=1", "hardware.device=cpu"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--dialogues", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_intermixed_args()
    prepared = prepare(load_config([*DEFAULTS, *options.overrides]))
    alone(prepared.kind)
    dialogues = uniform_dialogues(prepared, options.dialogues)
    works = {name: make(prepared, dialogues) for name, make in WORKS.items()}
    for work in works.values():
        work()  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    lengths = [len(tokens.ids_N) for tokens in dialogues]
    steps = round(len(dialogues) / prepared.config.update.batch)
    print(f"{len(lengths)} dialogues of {min(lengths)} to {max(lengths)} tokens, {steps} steps")
    for name, each in seconds.items():
        ratio = np.array(seconds["bare loop"]) / np.array(each)
        low, middle, high = np.quantile(ratio, [0, 0.5, 1])
        print(f"{name:10} {sum(lengths) / np.median(each):8,.0f} tokens/s   {middle:.2f} [{low:.2f}, {high:.2f}]")
    if options.json:
        options.json.write_text(json.dumps({"lengths": lengths, "seconds": seconds}, indent=1) + "\n")


def uniform_dialogues(prepared: Prepared, count: int) -> list[Tokens]:
    """Samples of a uniform player's trajectories, one scenario each."""
    from rmft_verl.bridge.sampling.chat import load_template
    from rmft_verl.bridge.sampling.rendering import render

    config, rng = prepared.config, np.random.default_rng(0)
    text = prepared.verl_config.actor_rollout_ref.model.custom_chat_template or ""
    template = load_template(prepared.model_path, text, config.model.chat_template)
    generator = make_generator(prepared.env_class, config.env.options)
    requests = [RolloutRequest(generator.draw(rng), i, i) for i in range(count)]
    played = teach(prepared.env_class, "uniform", config.rollout.history, requests)
    return [tokens for each in played for tokens in render(each, template, config.rollout.history).tokens][:count]


def alone(kind: str) -> None:
    """Make this process the only rank, without Ray."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "RAY_LOCAL_WORLD_SIZE": 1}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ |= {name: str(value) for name, value in ranks.items()}


def trainer(prepared: Prepared, dialogues: list[Tokens], packed: bool) -> Callable[[], Any]:
    """verl's training worker with our engine."""
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig

    from rmft_verl.bridge.training import engine as engine  # registers ours
    from rmft_verl.bridge.training.losses import loss

    verl = prepared.verl_config.copy().actor_rollout_ref
    verl.model.use_remove_padding = packed
    verl.model.override_config = {"attn_implementation": "dialogues" if packed else "sdpa"}
    model, actor = omega_conf_to_dataclass(verl.model), omega_conf_to_dataclass(verl.actor)
    actor.model_config = model
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model,
            engine_config=actor.engine,
            optimizer_config=actor.optim,
            checkpoint_config=actor.checkpoint,
            profiler_config=None,
        )
    )
    worker.engine_config.use_dynamic_bsz = True
    worker.engine_config.max_token_len_per_gpu = verl.actor.ppo_max_token_len_per_gpu
    worker.reset()
    worker.set_loss_fn(partial(loss, actor=actor))
    return lambda: worker.train_mini_batch(_rows(prepared, dialogues))


def _rows(prepared: Prepared, dialogues: list[Tokens]) -> Any:
    from verl.utils import tensordict_utils as tu

    from rmft_verl.bridge.training import steps
    from rmft_verl.bridge.training.batches import training_batch

    config = prepared.config
    samples = Samples(dialogues, list(range(len(dialogues))), [0] * len(dialogues), Batch([], []))
    columns = METHODS[config.update.loss].columns(samples, config, prepared.verl_config)
    rows = training_batch(config, dialogues, columns)
    tu.assign_non_tensor(rows, **steps.entries(steps.cut(len(dialogues), config.update.batch, 1, 1)[0], 1))
    return rows


def bare(prepared: Prepared, dialogues: list[Tokens]) -> Callable[[], Any]:
    """The yardstick of ``make bench``."""
    from yardsticks import bare_loop

    return bare_loop(prepared, dialogues, prepared.config.update.batch)


WORKS = {
    "padded": partial(trainer, packed=False),
    "packed": partial(trainer, packed=True),
    "bare loop": bare,
}

if __name__ == "__main__":
    main()
