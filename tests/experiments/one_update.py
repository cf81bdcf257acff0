"""Is a run's first update what a bare loop makes of the same samples? And how far would another rate reach?

    python tests/experiments/one_update.py RUN [--lr 5e-4 1e-4] [--epochs 1]      # a recipe with update.loss=sft

Chooses from the stored rollouts of iteration 1 as the run did, cuts them into the same steps in the same order, and
takes these steps with plain PyTorch: the model from ``model.path`` in float32, transformers' own forward pass, AdamW.
The loss is of the sampled tokens, among those that structured decoding allowed. Prints the run's losses and gradient
norm beside it, and for each rate what the next iteration's kept plays cost before and after, in nats a reply: all of
them, and the first reply of each sample's trajectory. Minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from rmft_verl.algo import METHODS
from rmft_verl.algo.method import Samples
from rmft_verl.algo.scores import Scorer
from rmft_verl.bridge.training import steps
from rmft_verl.config import Config
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.seeds import SELECTION, UPDATE, stream_seed
from rmft_verl.setup.models import base_model
from rmft_verl.setup.recipe import reload_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Tokens

STEPS = "loss of the first step {:.4f}, mean {:.4f}, last {:.4f}; gradient {:.4f}"
AT_ONCE = 256
"""Samples in one pass of the model."""


def kept(run: RunDir, config: Config, n: int) -> Samples:
    """The samples of what the run kept in iteration n, in its order."""
    played, rng = read_trajectories(run.trajectories("train", n)), np.random.default_rng([SELECTION, config.seed, n])
    generator = make_generator(load_env(config.env.name, config.env_dirs), config.env.options)
    scored = Scorer(config.selection.score, generator, config.selection.further)(played, rng)
    failed = [play for play in played if play.failed]
    return Samples.of(METHODS[config.update.loss].batch(scored, failed, config, rng))


def costs(model: Any, samples: Sequence[Tokens], temperature: float) -> list[torch.Tensor]:
    """-log p of the sampled tokens of each sample."""
    ids = [torch.tensor(tokens.ids_N).long() for tokens in samples]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    attended = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    logits = model(input_ids=padded, attention_mask=attended).logits.float() / temperature
    found = []
    for row, tokens in enumerate(samples):
        places = np.flatnonzero(tokens.sampled_N)
        logits_M_V = logits[row, places - 1]
        barred = torch.zeros_like(logits_M_V, dtype=torch.bool)
        for n, place in enumerate(places.tolist()):
            if among := tokens.allowed.get(place):
                barred[n] = True
                barred[n, list(among)] = False
        logits_M_V = logits_M_V.masked_fill(barred, float("-inf"))
        found.append(torch.nn.functional.cross_entropy(logits_M_V, ids[row][places], reduction="none"))
    return found


@torch.no_grad()
def told(model: Any, samples: Samples, temperature: float) -> str:
    """Nats a reply: of all, and of the first of each trajectory."""
    model.eval()
    sums: list[float] = []
    for start in range(0, len(samples.tokens), AT_ONCE):
        sums += [float(each.sum()) for each in costs(model, samples.tokens[start : start + AT_ONCE], temperature)]
    first = [value for n, value in enumerate(sums) if samples.trajectory[n] != samples.trajectory[n - 1]]
    return f"{np.mean(sums):.4f} (the first ones {np.mean(first):.3f})"


def update(model: Any, samples: Samples, config: Config, lr: float, epochs: int) -> tuple[list[float], list[float]]:
    """The run's steps, in its order. Returns the loss and the gradient's norm of each."""
    total = len(samples.tokens)
    size, n_steps = steps.cut(total, config.update.batch, world=1, together=1)
    seed = stream_seed(UPDATE, config.seed, 1)
    drawn = samples.take(steps.draw(total, size * n_steps, 1, seed).tolist()).tokens
    order = steps.order(size * n_steps, size, 1, 1, epochs, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    losses, norms = [], []
    model.train()
    for step in order.reshape(-1, size):
        rows = [drawn[row] for row in step]
        count = sum(int(tokens.sampled_N.sum()) for tokens in rows)
        optimizer.zero_grad()
        losses.append(0.0)
        for start in range(0, size, AT_ONCE):
            loss = torch.cat(costs(model, rows[start : start + AT_ONCE], config.rollout.temperature)).sum() / count
            loss.backward()
            losses[-1] += float(loss.detach())
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.update.max_grad_norm)))
        optimizer.step()
    return losses, norms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--lr", type=float, nargs="+", default=[])
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = RunDir.open(options.run)
    config = reload_config(run.config, [])
    base = AutoModelForCausalLM.from_pretrained(base_model(config), dtype=torch.float32)
    now, later = kept(run, config, 1), kept(run, config, 2)
    logged = next(row for row in read_metrics(run.metrics) if row["iteration"] == 1)
    values = [logged[f"update/{key}"] for key in ("loss_first", "loss", "loss_last", "grad_norm")]
    print(f"the run: {STEPS.format(*values)}")
    temperature = config.rollout.temperature
    print(f"base: the next iteration's kept replies cost {told(base, later, temperature)} nats")
    for lr in options.lr or [config.update.lr]:
        model = copy.deepcopy(base)
        losses, norms = update(model, now, config, lr, options.epochs or config.update.epochs)
        print(f"rate {lr:g}: {STEPS.format(losses[0], np.mean(losses), losses[-1], np.mean(norms))}")
        print(f"    the next iteration's kept replies cost {told(model, later, temperature)}", flush=True)


if __name__ == "__main__":
    main()
