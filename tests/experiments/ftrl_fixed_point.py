"""Where RMFT goes on the games of the FTRL theorem: a path for each perturbation and each k of L. Seconds to minutes.

    python tests/experiments/ftrl_fixed_point.py docs/results/theory_ftrl

Single-layer linear attention, d = 2, T = 10, Gaussian losses, decisions in the unit ball; L = 16. Writes paths.json,
table.md and one figure a set of paths.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from rmft_verl.numeric import updates
from rmft_verl.numeric.figures import draw_paths
from rmft_verl.numeric.models import SelfAttention
from rmft_verl.numeric.theory import PERTURBATIONS, BallGames, imitation, measure

GAMES = BallGames(dimension=2, horizon=10, deviation=1.0)
ROLLOUTS = 16
SETS = {
    "keep": [("play", 0.3, keep) for keep in (1, 4, 8, 16)],
    "spread": [("play", spread, 4) for spread in (0.1, 0.3, 1.0)],
    "perturbation": [(name, 0.3, 4) for name in ("play", "round", "weights")],
}
"""Figure -> (perturbation, spread, k) of each of its paths."""


def path(name: str, spread: float, keep: int, iterations: int, seed: int) -> list[dict[str, float]]:
    """A row every second iteration; every iteration fits the model to the plays of the one before."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = SelfAttention(GAMES.dimension, GAMES.dimension, "linear")
    model.values.weight.data.mul_(0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rows = []
    for n in range(iterations + 1):
        if n:
            losses = GAMES.draw(512, rng)
            loss = imitation(
                model, losses, rollouts=ROLLOUTS, keep=keep, spread=spread, rng=rng, perturb=PERTURBATIONS[name]
            )
            updates.fit(model, optimizer, loss, 512, epochs=5, batch=128, max_grad_norm=10.0, rng=rng)
        if n % 4 == 0:
            rows.append({"iteration": n, **measure(model, GAMES)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, float, int], list[list[dict[str, float]]]] = {}
    for setting in dict.fromkeys(setting for settings in SETS.values() for setting in settings):
        found[setting] = [path(*setting, options.iterations, seed) for seed in options.seeds]
        print(setting, [{k: round(v, 3) for k, v in rows[-1].items()} for rows in found[setting]], flush=True)
    for name, settings in SETS.items():
        paths = {f"{s[0]} {s[1]:g}, {s[2]} of {ROLLOUTS}": found[s][0] for s in settings}
        draw_paths(paths, options.out / f"paths_{name}.png")
    named = {f"{name} {spread:g} {keep}": rows for (name, spread, keep), rows in found.items()}
    (options.out / "paths.json").write_text(json.dumps(named, indent=0) + "\n", encoding="utf-8")
    (options.out / "table.md").write_text(table(found), encoding="utf-8")


def table(found: dict[tuple[str, float, int], list[list[dict[str, float]]]]) -> str:
    """Where each setting ends, a number a seed."""
    lines = ["| noise | spread | k of 16 | rate / theorem's | error | error at own rate | cosine |", "|" + "---|" * 7]
    for (name, spread, keep), seeds in found.items():
        cells = [
            ", ".join(f"{rows[-1][f'heldout/ftrl_{key}']:.3f}" for rows in seeds)
            for key in ("rate", "error", "own_error", "cosine")
        ]
        lines.append(f"| {name} | {spread:g} | {keep} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
