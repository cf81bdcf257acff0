"""Does it learn, and does it matter which trajectories are kept? Arms of a recipe over seeds, on the real stack.

    python tests/experiments/learns.py [--recipe mab_tiny] [--arms lowest_8 random_8 lowest_2] [--seeds 0 1 2]
                                       [--root runs/learns] [--out docs/results] [--report-only]

Runs what is missing below ROOT/RECIPE (one run is minutes on two cores), then writes OUT/RECIPE/table.md, numbers.json,
regret.png and each run's metrics from the runs' files. Every run is measured on the same held-out scenarios and draws.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rmft_verl import metrics
from rmft_verl.env import load_env
from rmft_verl.evaluate import evaluate_players, references
from rmft_verl.recipe import load_config
from rmft_verl.run_dir import RunDir
from rmft_verl.tracking import read_metrics
from rmft_verl.trainer import HELD_OUT_SEED, held_out_scenarios
from rmft_verl.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory

ARMS: dict[str, tuple[str, str, list[str]]] = {
    "lowest_8": ("lowest regret, 8 of 16", "#0072B2", ["selection.keep=8"]),
    "random_8": ("random, 8 of 16", "#999999", ["selection.keep=8", "selection.score=random"]),
    # as many trained tokens as with 8
    "lowest_2": ("lowest regret, 2 of 16", "#D55E00", ["selection.keep=2", "update.epochs=8"]),
}
"""Arm -> its name in tables, its color, its overrides."""


def overrides(recipe: str) -> list[str]:
    return [f"recipe={recipe}", "eval.every=5"]


def directory(root: Path, arm: str, seed: int) -> Path:
    return root / f"{arm}_seed{seed}"


def finished(path: Path) -> bool:
    return (path / "report" / "table.json").exists()


def run(recipe: str, root: Path, arm: str, seed: int) -> None:
    """Train unless it was done before; a run that was cut off starts anew."""
    path = directory(root, arm, seed)
    if finished(path):
        return
    shutil.rmtree(path, ignore_errors=True)
    command = [sys.executable, "-m", "rmft_verl.main", *overrides(recipe), *ARMS[arm][2]]
    print(f"== {recipe}, {arm}, seed {seed}", flush=True)
    subprocess.run([*command, f"seed={seed}", f"root={root}", f"name={path.name}"], check=True)


def read(path: Path) -> dict[str, Any]:
    """Base and trained held-out plays, and the metric rows, of a finished run."""
    opened = RunDir.open(path)
    versions = opened.recorded("eval")
    base, trained = (read_trajectories(opened.trajectories("eval", n)) for n in (versions[0], versions[-1]))
    return {"base": base, "trained": trained, "rows": read_metrics(opened.metrics)}


def describe(plays: list[Trajectory]) -> dict[str, float]:
    regret = metrics.normalized_regret_interval(plays)
    return {
        "normalized_regret": regret.value,
        "low": regret.low,
        "high": regret.high,
        "suffix_failure": metrics.suffix_failure_frequency(plays),
        "scaled_min_fraction": metrics.scaled_min_fraction(plays),
        "invalid_rate": metrics.invalid_rate(plays),
    }


def line(name: str, numbers: dict[str, float], change: str) -> str:
    regret = f"{numbers['normalized_regret']:.3f} [{numbers['low']:.3f}, {numbers['high']:.3f}]"
    behavior = (numbers["suffix_failure"], numbers["scaled_min_fraction"])  # NaN where no arms are pulled
    arms = ["" if math.isnan(value) else f"{value:.3f}" for value in behavior]
    cells = (name, regret, change, *arms)
    return "| " + " | ".join((*cells, f"{numbers['invalid_rate']:.2%}")) + " |"


Runs = dict[str, dict[int, dict[str, Any]]]
"""Arm -> seed -> what ``read`` returns."""


def summarize(recipe: str, runs: Runs, out: Path) -> None:
    """One table and its numbers for each environment of the recipe."""
    plays = [play for by_seed in runs.values() for one in by_seed.values() for play in one["base"]]
    names = sorted({play.scenario.env for play in plays})
    lines: list[str] = []
    numbers: dict[str, Any] = {}
    for name in names:
        part = {arm: {seed: only(name, one) for seed, one in by_seed.items()} for arm, by_seed in runs.items()}
        numbers[name], rows = table(recipe, part)
        lines += ([f"On `{name}`:", ""] if len(names) > 1 else []) + [*rows, ""]
    (out / "table.md").write_text("\n".join(lines))
    (out / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n")
    print("\n".join(lines))


def only(env_name: str, one: dict[str, Any]) -> dict[str, Any]:
    """A run's plays in one environment."""
    return {key: [play for play in one[key] if play.scenario.env == env_name] for key in ("base", "trained")}


def table(recipe: str, runs: Runs) -> tuple[dict[str, Any], list[str]]:
    """Numbers and rows. A change is paired by scenario; its interval is a bootstrap over scenarios."""
    lines = [
        "| player | held-out normalized regret | change against base | SuffFailFreq | K x MinFrac | invalid |",
        "|---|---|---|---|---|---|",
    ]
    numbers: dict[str, Any] = {}
    bases = [play for by_seed in runs.values() for one in by_seed.values() for play in one["base"]]
    numbers["base"] = describe(bases)
    lines.append(line("base", numbers["base"], ""))
    for arm, by_seed in runs.items():
        base = [play for one in by_seed.values() for play in one["base"]]
        trained = [play for one in by_seed.values() for play in one["trained"]]
        change = metrics.relative_change(base, trained)
        seeds = [metrics.relative_change(one["base"], one["trained"]).value for one in by_seed.values()]
        numbers[arm] = describe(trained) | {"change": list(change), "by_seed": seeds}
        each = ", ".join(f"{value:+.0%}" for value in seeds)
        text = f"{change.value:+.1%} [{change.low:+.1%}, {change.high:+.1%}] (seeds {each})"
        lines.append(line(ARMS[arm][0], numbers[arm], text))
    config = load_config(overrides(recipe))
    env_class = load_env(config.env.name)
    played = {play.scenario.id for play in bases}
    scenarios = [scenario for scenario in held_out_scenarios(config, env_class) if scenario.id in played]
    names = references(env_class, scenarios, [play.oracle.kind for play in bases])
    for name, plays in evaluate_players(env_class, names, scenarios, 3, HELD_OUT_SEED).items():
        numbers[name] = describe(plays)
        lines.append(line(name, numbers[name], ""))
    return numbers, lines


def draw(runs: Runs, path: Path) -> None:
    """Regret of each iteration's rollouts (fresh scenarios) and of what was kept of them, one thin line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for arm, by_seed in runs.items():
        name, color, _ = ARMS[arm]
        for seed, one in by_seed.items():
            rows = [row for row in one["rows"] if row["iteration"] > 0]
            for panel, key in zip(panels, ("rollout/normalized_regret", "kept/normalized_regret"), strict=True):
                label = name if seed == min(by_seed) else None
                panel.plot([r["iteration"] for r in rows], [r[key] for r in rows], "o-", color=color, ms=3, label=label)
    for panel, title in zip(panels, ("all rollouts of the iteration", "kept for training"), strict=True):
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("iteration")
        panel.set_xticks(range(1, 6))
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("normalized regret (0 oracle, 1 uniform)")
    panels[0].set_ylim(0, 1.1)
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="mab_tiny")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--root", type=Path, default=Path("runs/learns"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--report-only", action="store_true", help="from the finished runs, without running more")
    options = parser.parse_args()
    root, out = options.root / options.recipe, options.out / options.recipe
    if not options.report_only:
        for seed in options.seeds:
            for arm in options.arms:
                run(options.recipe, root, arm, seed)
    runs = {
        arm: {seed: read(path) for seed in options.seeds if finished(path := directory(root, arm, seed))}
        for arm in options.arms
    }
    runs = {arm: by_seed for arm, by_seed in runs.items() if by_seed}
    out.mkdir(parents=True, exist_ok=True)
    summarize(options.recipe, runs, out)
    draw(runs, out / "regret.png")
    for arm, by_seed in runs.items():
        for seed in by_seed:
            source = directory(root, arm, seed)
            shutil.copyfile(source / "metrics.jsonl", out / f"{source.name}.jsonl")


if __name__ == "__main__":
    main()
