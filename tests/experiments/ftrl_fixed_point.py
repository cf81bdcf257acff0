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

from rmft_verl.labs.numeric import updates
from rmft_verl.labs.numeric.ball import BallGames
from rmft_verl.labs.numeric.figures import draw_paths
from rmft_verl.labs.numeric.models import SelfAttention
from rmft_verl.labs.numeric.players import past_sums
from rmft_verl.labs.numeric.theory import PERTURBATIONS, imitation, kept_mean, measure

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
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rows = []
    for n in range(iterations + 1):
        if n:
            losses = GAMES.draw(512, rng)
            target = kept_mean(
                model, losses, rollouts=ROLLOUTS, keep=keep, spread=spread, rng=rng, perturb=PERTURBATIONS[name]
            )
            loss = imitation(model, losses, target)
            updates.fit(model, optimizer, loss, 512, epochs=5, batch=128, max_grad_norm=10.0, rng=rng)
        if n % 4 == 0:
            rows.append({"iteration": n, **measure(model, GAMES)})
    return rows


class Follower(torch.nn.Module):
    """FTRL's linear form: minus ``rate`` times the past sums."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, history: torch.Tensor) -> torch.Tensor:
        return -self.rate * history.cumsum(1)


def predicted(name: str, spread: float, keep: int, steps: int = 150) -> float:
    """Where the rate stands still, in units of the theorem's, if the player is FTRL but for its rate.

    Each step plays, selects and fits the rate to what was kept by least squares, on fresh sequences; the mean of the
    last third of the steps.
    """
    rng, rate, rates = torch.Generator().manual_seed(0), 0.0, []
    for _ in range(steps):
        losses = GAMES.draw(1000, rng)
        target = kept_mean(
            Follower(rate), losses, rollouts=ROLLOUTS, keep=keep, spread=spread, rng=rng, perturb=PERTURBATIONS[name]
        )
        sums = past_sums(losses)
        rate = -float((target * sums).sum() / (sums * sums).sum())
        rates.append(rate / GAMES.rate)
    return sum(rates[-steps // 3 :]) / len(rates[-steps // 3 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--report-only", action="store_true", help="table and figures from paths.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "paths.json"
    found: Paths = json.loads(file.read_text(encoding="utf-8")) if options.report_only else {}
    for setting in dict.fromkeys(setting for settings in SETS.values() for setting in settings):
        if not options.report_only:
            found[key(setting)] = [path(*setting, options.iterations, seed) for seed in options.seeds]
            print(setting, [{k: round(v, 3) for k, v in rows[-1].items()} for rows in found[key(setting)]], flush=True)
    file.write_text(json.dumps(found) + "\n", encoding="utf-8")
    for name, settings in SETS.items():
        paths = {f"{s[0]} {s[1]:g}, {s[2]} of {ROLLOUTS}": found[key(s)][0] for s in settings}
        draw_paths(paths, options.out / f"paths_{name}.png")
    (options.out / "table.md").write_text(table(found), encoding="utf-8")
    print(table(found))


Setting = tuple[str, float, int]
Paths = dict[str, list[list[dict[str, float]]]]


def key(setting: Setting) -> str:
    return " ".join(f"{part}" for part in setting)


def table(found: Paths) -> str:
    """Where each setting ends, a number a seed, beside where it was predicted to."""
    columns = ("noise", "spread", "k of 16", "rate", "predicted", "error", "at own rate", "cosine")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for name, seeds in found.items():
        perturbation, spread, keep = name.split()
        rate, error, own, cosine = (
            ", ".join(f"{rows[-1][f'heldout/ftrl_{measured}']:.3f}" for rows in seeds)
            for measured in ("rate", "error", "own_error", "cosine")
        )
        cells = (perturbation, spread, keep, rate, f"{predicted(perturbation, float(spread), int(keep)):.3f}")
        lines.append(f"| {' | '.join([*cells, error, own, cosine])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
