"""Which habits of the tiny base does selection keep? From a run's stored rollouts, by any score.

    python tests/experiments/habit_shares.py RUN [--scores regret posterior] [--keep 8]

A tiny model says its habit in its first words, so its plays can be told apart. For each iteration: how many of the
plays are of each habit, and the share of them that each score keeps; chance keeps 50 % of every habit with 8 of 16.
The table is of all iterations together, with the habits' normalized regret.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from rmft_verl.algo.scores import SCORES, Scorer
from rmft_verl.algo.selection import select
from rmft_verl.env import load_env, make_generator
from rmft_verl.eval import metrics
from rmft_verl.labs.tiny.habits import HABITS
from rmft_verl.labs.tiny.policies import POLICY_HABITS
from rmft_verl.setup.recipe import reload_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory


def habit(play: Trajectory) -> str:
    """The habit that the first reply speaks of, or ``other``."""
    known = POLICY_HABITS if play.oracle.kind == "external" else HABITS
    said = play.turns[0].text
    return next(
        (name for name, (_, thought, _) in known.items() if said.startswith(thought.partition(" {")[0])), "other"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--scores", nargs="+", choices=SCORES, default=["regret", "posterior"])
    parser.add_argument("--keep", type=int, default=8)
    options = parser.parse_args()
    run = RunDir.open(options.run)
    config = reload_config(run.config, [])
    generator = make_generator(load_env(config.env.name, config.env_dirs), config.env.options)
    scorers = {name: Scorer(name, generator) for name in options.scores}
    everything: list[Trajectory] = []
    kept_of: dict[str, Counter[str]] = {name: Counter() for name in scorers}
    played_of: Counter[str] = Counter()
    for n in run.recorded("train"):
        played = read_trajectories(run.trajectories("train", n))
        everything += played
        counts = Counter(habit(play) for play in played)
        played_of += counts
        parts = []
        for name, scorer in scorers.items():
            rng = np.random.default_rng(n)
            kept = Counter(
                habit(one.trajectory) for one in select(scorer(played, rng), keep=options.keep, by="scenario", rng=rng)
            )
            kept_of[name] += kept
            parts.append(f"{name}: " + " ".join(f"{key} {kept[key] / counts[key]:.0%}" for key in sorted(counts)))
        print(f"iteration {n}  played: " + " ".join(f"{key} {counts[key]}" for key in sorted(counts)))
        print("\n".join(f"    kept by {part}" for part in parts))
    print("\n| habit | plays | normalized regret | " + " | ".join(f"kept by {name}" for name in scorers) + " |")
    print("|---" * (3 + len(scorers)) + "|")
    for key, count in played_of.most_common():
        regret = metrics.normalized_regret([play for play in everything if habit(play) == key])
        shares = " | ".join(f"{kept[key] / count:.0%}" for kept in kept_of.values())
        print(f"| {key} | {count} | {regret:.2f} | {shares} |")


if __name__ == "__main__":
    main()
