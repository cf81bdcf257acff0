"""What does each way of selecting pull a model towards? Kept plays against all plays of one base, round by round.

    python tests/experiments/selection_pull.py RECIPE PLAYS [key=value ...] [--keep 8/16 2/32]

PLAYS holds many plays a scenario: the directory of ``rmft-verl eval ... --episodes 64``, or one file of a run's
rollouts; RECIPE names the game. For each score and each k/L: regret of what is kept, as a share of uniform play's, and
how often a round repeats the last action, after a reward and after none. That is what cross-entropy on the kept plays
sees: a rule that teaches to *use* rewards raises the first share and lowers the second; one that raises both teaches
repetition. ``use`` is the difference of the two shares less that of all plays, ``z`` is ``use`` over its standard error
(bootstrap over scenarios).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmft_verl.algo.scores import Scorer
from rmft_verl.algo.selection import select
from rmft_verl.env import load_env, make_generator
from rmft_verl.eval import metrics
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory

RULES = {"true regret": ("regret", 0.0), "reward": ("reward", 0.0), "posterior": ("posterior", 0.0)}
RULES |= {"posterior, continued": ("posterior", 1.0), "posterior, 3 T": ("posterior", 3.0), "random": ("random", 0.0)}


def repeats(played: Sequence[Trajectory]) -> np.ndarray:
    """Counts (2, 2): after no reward and after one, rounds in all and rounds that repeat the action before."""
    counts = np.zeros((2, 2))
    for play in played:
        for before, now in zip(play.turns, play.turns[1:], strict=False):
            counts[int(bool(before.reward))] += 1, float(now.action == before.action)
    return counts


def use(counts: np.ndarray) -> float:
    """Repeats after a reward less repeats after none, as shares of the rounds."""
    return float(counts[1, 1] / counts[1, 0] - counts[0, 1] / counts[0, 0])


def row(name: str, kept: dict[str, list[Trajectory]], everything: dict[str, list[Trajectory]]) -> str:
    plays = [play for part in kept.values() for play in part]
    ours = np.array([repeats(part) for part in kept.values()])
    theirs = np.array([repeats(everything[scenario]) for scenario in kept])
    total = ours.sum(0)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(ours), size=(500, len(ours)))
    spread = np.std([use(ours[draw].sum(0)) - use(theirs[draw].sum(0)) for draw in draws])
    gain = use(total) - use(theirs.sum(0))
    return (
        f"| {name} | {metrics.normalized_regret(plays):.2f} | {total[1, 1] / total[1, 0]:.2f} "
        f"| {total[0, 1] / total[0, 0]:.2f} | {gain:+.3f} | {gain / spread if spread else 0:+.1f} "
        f"| {metrics.suffix_failure_frequency(plays):.2f} | {metrics.scaled_min_fraction(plays):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("plays", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--keep", nargs="+", default=["8/16", "4/16", "2/32", "4/64"], metavar="k/L")
    options = parser.parse_intermixed_args()
    config = load_config([f"recipe={options.recipe}", *options.overrides])
    generator = make_generator(load_env(config.env.name, config.env_dirs), config.env.options)
    everything: dict[str, list[Trajectory]] = {}
    files = sorted(options.plays.rglob("*.parquet")) if options.plays.is_dir() else [options.plays]
    for file in files:
        for play in read_trajectories(file):
            if play.player == "model" and play.valid:
                everything.setdefault(play.scenario.id, []).append(play)
    if not everything:
        raise SystemExit(f"{options.plays} holds no valid play of player model")
    print("| kept | regret | repeats after a reward | after none | use | z | SuffFailFreq | K x MinFrac |")
    print("|---|---|---|---|---|---|---|---|")
    print(row("all plays", everything, everything))
    for name, (score, further) in RULES.items():
        scorer = Scorer(score, generator, further)
        scored = {key: scorer(plays, np.random.default_rng(0)) for key, plays in everything.items()}
        for share in options.keep:
            k, rollouts = map(int, share.split("/"))
            kept = {
                key: [
                    one.trajectory
                    for start in range(0, len(plays) - rollouts + 1, rollouts)
                    for one in select(
                        plays[start : start + rollouts], keep=k, by="scenario", rng=np.random.default_rng(start)
                    )
                ]
                for key, plays in scored.items()
            }
            print(row(f"{name}, {share}", kept, everything), flush=True)


if __name__ == "__main__":
    main()
