"""How much luck is in one evaluation of a tiny base? More plays of it on its held-out scenarios, in plain PyTorch.

    python tests/experiments/base_plays.py RUN ... [--plays 16] [--threads 1]     # 40 s of one core a play of mab_tiny

The RUNs are runs, or the evidence of runs in a runs.zip (ROOT/LABEL_seedS), of recipes with one tiny base, and were
measured on the same scenarios. Prints the normalized regret of every play of all scenarios, their mean and standard
deviation, and writes the plays to ROOT/bases, where ``rmft-verl compare --root ROOT`` finds them.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.env import load_env
from rmft_verl.env.play import play
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import HELD_OUT_SEED, episode_seeds
from rmft_verl.eval import metrics
from rmft_verl.eval.compare.arms import Arm
from rmft_verl.eval.compare.bases import name_of, write_bases
from rmft_verl.eval.compare.evidence import pack_again, unpack, without_words
from rmft_verl.eval.compare.results import Outcome, read
from rmft_verl.eval.compare.runs import Planned
from rmft_verl.labs.tiny import evaluate
from rmft_verl.setup.models import tiny_path
from rmft_verl.types import Trajectory


def played(run: Outcome, model: Any, tokenizer: Any, episode: int) -> list[Trajectory]:
    """Every held-out scenario once, with the draws of rewards that ``rmft-verl eval --episodes`` has in ``episode``."""
    env_class, scenarios = load_env(run.config["env.name"]), run.scenarios
    table = evaluate.Table(evaluate.Sampler(model, tokenizer, 1000 + episode), tokenizer, len(scenarios), "")

    async def everyone() -> list[Trajectory]:
        seeds = [episode_seeds(HELD_OUT_SEED, index, episode) for index in range(len(scenarios))]
        games = [
            play(env_class(scenario, one[0]), seat, scenario, reward_seed=one[0], policy_seed=one[1])
            for scenario, seat, one in zip(scenarios, table.seats, seeds, strict=True)
        ]
        return [score(trajectory) for trajectory in await asyncio.gather(*games)]

    return asyncio.run(everyone())


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--plays", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for path in options.runs:
        unpack(path.parent)
    runs = [read(Planned(Arm(path.name.rpartition("_seed")[0], runs=(path,)), 0, path)) for path in options.runs]
    first = runs[0]
    assert all(run.measured_on == first.measured_on for run in runs)
    directory = tiny_path(str(first.config["model.path"]).removeprefix("tiny:"))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    evaluate.MAX_REPLY = int(first.config["rollout.reply_tokens"])
    plays: list[Trajectory] = []
    regrets = []
    for episode in range(options.plays):
        now = played(first, model, tokenizer, episode)
        regrets.append(metrics.normalized_regret(now))
        plays += [without_words(one) for one in now]
        print(f"{episode}: {regrets[-1]:.3f}, invalid {metrics.invalid_rate(now):.2%}", flush=True)
    spread = np.std(regrets, ddof=1)
    print(
        f"on file {metrics.normalized_regret(first.base):.3f}; {options.plays} plays: mean {np.mean(regrets):.3f} ",
        end="",
    )
    print(f"± {spread / len(regrets) ** 0.5:.3f}, standard deviation of one {spread:.3f}")
    for run in runs:
        write_bases({name_of(run): plays}, run.path.parent)
        pack_again(run.path.parent)


if __name__ == "__main__":
    main()
