"""Posterior regret where means drift: what particles and what the exact filter cost, and how far they are apart.

    python tests/experiments/effective_particles.py [--out docs/results]   # a minute or two on one core

UCB1 and uniform play each play 16 fresh scenarios of a setting once. Writes OUT/effective_particles.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from rmft_verl.algo import scores
from rmft_verl.algo.scores import MOST_PATHS, PATHS, Scorer
from rmft_verl.env import load_env
from rmft_verl.eval.algorithms import evaluate_players

SETTINGS: dict[str, dict[str, Any]] = {
    "Bernoulli, K 2 to 4, T = 20 (nsmab_tiny)": {"arms": [2, 3, 4], "horizon": [20]},
    "Bernoulli, K = 5, T = 30": {"arms": [5], "horizon": [30]},
    "Bernoulli, K = 5, T = 60": {"arms": [5], "horizon": [60]},
    "Gaussian, sd 0.2, K = 5, T = 30": {"arms": [5], "horizon": [30], "law": ["gaussian"], "noise": 0.2},
}


def row(name: str, options: dict[str, Any]) -> str:
    """A budget that no game exceeds changes no law, but leaves only particles."""
    env_class = load_env("nsmab")
    exact = Scorer("posterior", env_class.Generator(contexts="basic", **options))
    generator = env_class.Generator(contexts="basic", budget=0.8 * (options["horizon"][0] - 1), **options)
    scenarios = [generator.draw(np.random.default_rng(i)) for i in range(16)]
    played = [
        play for plays in evaluate_players(env_class, ["ucb1", "uniform"], scenarios, 1, 0).values() for play in plays
    ]
    with mock.patch.object(scores, "MOST_PATHS", PATHS):
        at_first = Scorer("posterior", generator)
        at_first(played, np.random.default_rng(0))
    grown = Scorer("posterior", generator)
    grown(played, np.random.default_rng(0))  # draws the paths
    values, costs = [], []
    for scorer in (grown, exact):
        start = time.process_time()
        values.append(np.array([each.score for each in scorer(played, np.random.default_rng(0))]))
        costs.append((time.process_time() - start) / len(played))
    apart, deviation = np.sqrt(np.mean((values[0] - values[1]) ** 2)), values[1].std()
    cells = (name, *(f"{np.median(one):.0f}, {min(one):.0f}" for one in (at_first.effective, grown.effective)))
    return f"| {' | '.join(cells)} | {apart:.2f} of {deviation:.2f} | {costs[0]:.2f} | {costs[1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    lines = [
        f"| setting | effective, median and least: {PATHS:,} particles | grown, at most {MOST_PATHS:,} "
        "| score: rms difference to the exact one, of its deviation over plays | s a score | s, exact |",
        "|---|---|---|---|---|---|",
    ]
    for name, options in SETTINGS.items():
        lines.append(row(name, options))
        print(lines[-1], flush=True)
    text = "16 scenarios of `nsmab`, all kinds of drift, each played once by UCB1 and by uniform play.\n\n"
    path = parser.parse_args().out / "effective_particles.md"
    path.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
