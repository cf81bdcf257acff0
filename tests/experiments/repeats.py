"""Does a bandit player use its rewards? What it does after a reward and after none, evaluation by evaluation.

    python tests/experiments/repeats.py RUN ... [--show 25]

A row an evaluation of a run: the share of turns that repeat the last action after a reward and after none, the share of
trajectories that stay with one action, and changes of action in a trajectory. ``--show N`` prints the first N
trajectories of the first and last evaluation of each run: each action's name, + for a reward, - for none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory


def row(name: str, played: Sequence[Trajectory]) -> str:
    repeats: dict[bool, list[bool]] = {True: [], False: []}
    changes = []
    for one in played:
        actions, paid = [turn.action for turn in one.turns], [bool(turn.reward) for turn in one.turns]
        same = [a == b for a, b in pairwise(actions)]
        changes.append(len(same) - sum(same))
        for reward, stayed in zip(paid, same, strict=False):
            repeats[reward].append(stayed)
    one_action = np.mean([change == 0 for change in changes])
    return (
        f"| {name} | {np.mean(repeats[True]):.0%} | {np.mean(repeats[False]):.0%} | {one_action:.0%} "
        f"| {np.mean(changes):.2f} |"
    )


def words(one: Trajectory) -> str:
    names = one.scenario.actions
    return " ".join(
        f"{names[turn.action]}{'+' if turn.reward else '-'}" for turn in one.turns if isinstance(turn.action, int)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--show", type=int, default=0, metavar="N")
    options = parser.parse_args()
    print("| run, updates | repeats after a reward | after none | one action only | changes |\n|---|---|---|---|---|")
    shown: list[str] = []
    for path in options.runs:
        run = RunDir.open(path)
        versions = run.recorded("eval")
        for n in versions:
            played = [one for one in read_trajectories(run.trajectories("eval", n)) if one.oracle.kind != "external"]
            print(row(f"{path.name}, {n}", played))
            if n in (versions[0], versions[-1]):
                shown += [f"{path.name} after {n} updates: {words(one)}" for one in played[: options.show]]
    print("\n".join(shown))


if __name__ == "__main__":
    main()
