"""What makes a model name its actions, and does strategy leak in? One table: warm-up, structured decoding, worked
examples, and the softened copy that the recipe begins with.

    python tests/experiments/answer_forms.py OUT [--scenarios 100] [key=value ...]

Every way is tried on ``recipe=mab_smollm2`` with the given overrides, on the same scenarios; run again, what is there
already is not played again. A way leaks no strategy if regret stays within the interval of uniform play or of the model
itself, where that plays at all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmft_verl.eval import metrics
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.warmup import warmed, warmup_config
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.train.run import run
from rmft_verl.types import Trajectory

WARM = "warmup.scenarios=128"
WAYS: dict[str, list[str]] = {
    "as it is": [],
    "warm-up": [WARM],
    "structured": ["rollout.structured=true"],
    "1 example": ["rollout.examples=1"],
    "3 examples": ["rollout.examples=3"],
    "warm-up, structured": [WARM, "rollout.structured=true"],
    "1 example, structured": ["rollout.examples=1", "rollout.structured=true"],
    "3 examples, structured": ["rollout.examples=3", "rollout.structured=true"],
    "softened, structured": ["model.path=smollm2-soft", "rollout.structured=true"],
}
NONE = [
    "model.path=smollm2",
    "model.context=2048",
    "warmup.scenarios=0",
    "rollout.structured=false",
    "rollout.examples=0",
]


def plays(out: Path, way: str, overrides: Sequence[str], scenarios: int) -> list[Trajectory]:
    """The way's plays, sampled unless they are there; a warmed model is made first."""
    recipe = ["mab_smollm2", *NONE, *WAYS[way], *overrides, f"root={out / 'warm'}"]
    config = load_config([f"recipe={recipe[0]}", *recipe[1:]])
    if config.warmup.scenarios:
        run(warmup_config(config))
        recipe = [one for one in recipe if one != WARM] + [f"model.path={warmed(config)}"]
    directory = out / way.replace(", ", "_").replace(" ", "-")
    options = [f"{key}={value}".replace(" ", "") for key, value in config.env.options.items()]
    command = ["eval", config.env.name, "--players", "model", "uniform", "--scenarios", str(scenarios)]
    recipe = [one for one in recipe if not one.startswith("env.options.")]  # they are in options
    command += ["--option", *options, "--out", str(directory), "--recipe", *recipe]
    subprocess.run([sys.executable, "-m", "rmft_verl.main.cli", *command], check=True, stdout=subprocess.DEVNULL)
    files = sorted(directory.rglob("*.parquet"))
    return [play for file in files for play in read_trajectories(file)]


def place_entropy(played: Sequence[Trajectory]) -> float:
    """Entropy of the first action's place among the names, in bits: log2(K) if no place is preferred.

    An action that stands in for an invalid reply does not count; NaN if there is no other.
    """
    first = [play.turns[0].action for play in played if play.turns[0].parsed]
    if not first:
        return float("nan")
    share_A = np.unique(first, return_counts=True)[1] / len(first)
    return float(-(share_A * np.log2(share_A)).sum())


def line(name: str, played: Sequence[Trajectory]) -> str:
    regret = metrics.normalized_regret_interval(played)
    return (
        f"| {name} | {metrics.invalid_rate(played):.1%} | {np.mean([play.valid for play in played]):.0%} "
        f"| {place_entropy(played):.2f} | {metrics.suffix_failure_frequency(played):.2f} "
        f"| {metrics.scaled_min_fraction(played):.2f} | {regret.value:.2f} [{regret.low:.2f}, {regret.high:.2f}] |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--scenarios", type=int, default=100)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_intermixed_args()
    rows: list[str] = []
    for way in options.ways:
        played = plays(options.out, way, options.overrides, options.scenarios)
        by_player = {name: [play for play in played if play.player == name] for name in ("model", "uniform")}
        rows.append(line(way, by_player["model"]))
        print(rows[-1], flush=True)
    table = [
        "| | invalid replies | valid plays | entropy of the first action, bits | SuffFailFreq | K x MinFrac | regret |",
        "|---|---|---|---|---|---|---|",
        *rows,
        line("uniform play", by_player["uniform"]),
    ]
    (options.out / "table.md").write_text("\n".join(table) + "\n")
    print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
