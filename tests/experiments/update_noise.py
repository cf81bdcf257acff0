"""How far does an update take a model from itself, where there is nothing to learn? The noise of a learning rate.

    python tests/experiments/update_noise.py BASE [RECIPE] [key=value ...] [--settings 5e-4:240 2e-4:960] [--fresh 5]

BASE is a built base (docs/results/protocol/bases/announced-0; for an unannounced one
``env.options.answer=action_only rollout.history=summary``), RECIPE (mab_explore+posterior) the game, the size of an
iteration and the score. The base plays an iteration, and ``--fresh`` more that no update sees. Each setting,
learning rate : batch, imitates the plays that are kept at random, then those that the score keeps. Prints nats a
choice: of what is imitated before and after, and the change on fresh plays that the score keeps and on all fresh
plays. All plays are the model's own, so imitating random ones should change nothing: what it costs on fresh plays
is noise, and a rule teaches only what its own imitation costs less there.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from bare_loop import Choice, logits, rollout, update
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl.algo.scores import Scorer
from rmft_verl.algo.selection import count, select
from rmft_verl.config import Config
from rmft_verl.env import load_env, make_generator
from rmft_verl.setup.recipe import load_config

PLAYS, REWARDS, AT_ONCE = 77, 100_000_000, 1_024
"""Seed of the scenarios and first reward seed, both apart from those of runs; choices in one pass."""

Choices = list[list[Choice]]
"""The choices of each play."""


def iteration(
    model: Any, tokenizer: Any, config: Config, n: int, generator: Any
) -> tuple[Choices, dict[str, list[int]]]:
    """One iteration's plays, and the places of those that each rule keeps."""
    rng = np.random.default_rng([PLAYS, n])
    scenarios = [generator.draw(rng) for _ in range(config.rollout.scenarios)]
    seats = [one for one in scenarios for _ in range(config.rollout.rollouts)]
    played, choices = rollout(model, tokenizer, config, seats, REWARDS + n * 100_000)
    keep, kept = count(config.selection.keep, config.rollout.rollouts), {}
    for rule in ("random", config.selection.score):
        scored = Scorer(rule, generator, config.selection.further)(played, rng)
        kept[rule] = [one.place for one in select(scored, keep=keep, by="scenario", rng=rng)]
    return choices, kept


def cost(model: Any, choices: Sequence[Choice]) -> float:
    """Nats a choice."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(choices), AT_ONCE):
            rows = choices[start : start + AT_ONCE]
            drawn = torch.tensor([choice.drawn for choice in rows])
            total += torch.nn.functional.cross_entropy(logits(model, rows), drawn, reduction="sum").item()
    return total / len(choices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("recipe", nargs="?", default="mab_explore+posterior")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--settings", nargs="+", default=["5e-4:240", "2e-4:240", "5e-4:960", "2e-4:960", "1e-4:240"])
    parser.add_argument("--fresh", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_intermixed_args()
    torch.set_num_threads(options.threads)
    config = load_config([f"recipe={options.recipe}", *options.overrides])
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    generator = make_generator(load_env(config.env.name, config.env_dirs), config.env.options)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
    (plays, kept), *fresh = [iteration(model, tokenizer, config, n, generator) for n in range(1 + options.fresh)]
    everything = [choice for others, _ in fresh for play in others for choice in play]
    best = [choice for others, rules in fresh for place in rules[config.selection.score] for choice in others[place]]
    before = cost(model, best), cost(model, everything)
    print(f"base: {before[0]:.4f} nats a choice on what {config.selection.score} keeps, {before[1]:.4f} on all\n")
    print(
        "| rate, prompts a step | kept | imitated, before and after | fresh kept | fresh, all |\n|---|---|---|---|---|"
    )
    for setting in options.settings:
        rate, batch = float(setting.partition(":")[0]), int(setting.partition(":")[2])
        changed = dataclasses.replace(config, update=dataclasses.replace(config.update, lr=rate, batch=batch))
        for rule, places in kept.items():
            learner = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
            imitated = [choice for place in places for choice in plays[place]]
            optimizer = torch.optim.AdamW(learner.parameters(), lr=rate, weight_decay=0.0)
            start = cost(learner, imitated)
            update(learner, optimizer, [(choice, 1.0) for choice in imitated], changed, 1)
            moved = cost(learner, best) - before[0], cost(learner, everything) - before[1]
            told = f"{start:.4f} {cost(learner, imitated):.4f} | {moved[0]:+.4f} | {moved[1]:+.4f} |"
            print(f"| {setting} | {rule} | {told}", flush=True)


if __name__ == "__main__":
    main()
