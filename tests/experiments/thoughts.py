"""What does a bandit player say before it acts, and does it tell what it does next?

    python tests/experiments/thoughts.py RUN ... [--show 25]

A row an evaluation of a run whose base was warmed up: normalized regret; the share of replies whose words before the
answer line are one of the warm-up's thoughts, letter by letter; the sampled tokens of a reply; the share that names an
action there; the commonest thoughts. Then how far what is said before an action tells whether it is the last one
again: the mutual information of thought and repeat, in bits, as large as it would be for the same replies in a random
order (mean of 200) and as it is. ``--show N`` prints the first N trajectories of the first and last evaluation.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from rmft_verl.algo.distill import THOUGHTS
from rmft_verl.eval import metrics
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory

OTHER, SHUFFLES = "(other words)", 200


def thought(text: str) -> str:
    """What stands before the first answer line."""
    return text.split("Action:")[0].strip()


def information(said: Sequence[str], repeated: Sequence[bool]) -> float:
    """Mutual information of two discrete variables from their counts, in bits."""

    def entropy(values: Sequence[object]) -> float:
        shares = np.array(list(Counter(values).values())) / len(values)
        return float(-(shares * np.log2(shares)).sum())

    return entropy(said) + entropy(repeated) - entropy(list(zip(said, repeated, strict=True)))


def row(name: str, played: Sequence[Trajectory]) -> str:
    turns = [turn for one in played for turn in one.turns]
    said = Counter(thought(turn.text) for turn in turns)
    names = [
        any(action in thought(turn.text) for action in one.scenario.actions) for one in played for turn in one.turns
    ]
    sampled = sum(int((tokens.mask_N == 1).sum()) for one in played for tokens in one.tokens) / len(turns)
    kinds, repeated = [], []
    for one in played:
        for before, now in pairwise(one.turns):
            kinds.append(thought(now.text) if thought(now.text) in THOUGHTS else OTHER)
            repeated.append(before.action == now.action)
    rng = np.random.default_rng(0)
    chance = np.mean([information(kinds, list(rng.permutation(repeated))) for _ in range(SHUFFLES)])
    value, low, high = metrics.normalized_regret_interval(played)
    taught = sum(said[text] for text in THOUGHTS) / len(turns)
    common = "; ".join(f'"{text}" {count / len(turns):.0%}' for text, count in said.most_common(3))
    tells = f"{chance:.4f}, {information(kinds, repeated):.4f}"
    regret = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return f"| {name} | {regret} | {taught:.0%} | {sampled:.1f} | {np.mean(names):.0%} | {common} | {tells} |"


def dialogue(one: Trajectory) -> str:
    names = one.scenario.actions
    return "\n".join(
        f"    {thought(turn.text)!r} {names[turn.action]}{'+' if turn.reward else '-'}"
        for turn in one.turns
        if isinstance(turn.action, int)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--show", type=int, default=0, metavar="N")
    options = parser.parse_args()
    print("| run, updates | regret | as taught | sampled tokens | names an action | commonest | tells of a repeat |")
    print("|---|---|---|---|---|---|---|")
    shown: list[str] = []
    for path in options.runs:
        run = RunDir.open(path)
        versions = run.recorded("eval")
        for n in versions:
            played = [one for one in read_trajectories(run.trajectories("eval", n)) if one.oracle.kind != "external"]
            print(row(f"{path.name}, {n}", played))
            if n in (versions[0], versions[-1]):
                shown += [f"{path.name} after {n} updates:\n{dialogue(one)}" for one in played[: options.show]]
    print("\n".join(shown))


if __name__ == "__main__":
    main()
