"""Metrics of a comparison's runs after each update, over the seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rmft_verl.eval.compare.numbers import Arms
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.metrics import Interval

SHOWN = {"normalized regret": "normalized_regret", "SuffFailFreq": "suffix_failure", "K×MinFrac": "min_fraction"}

LEGEND = (
    "mean over seeds [95 % t-interval]; * held out, else training scenarios, drawn from one stream a seed, of which "
    "arms with rollout.tokens take more or fewer"
)


def markdown(arms: Arms) -> str:
    """One table per metric: a row per arm, a column per number of updates.

    A cell uses held-out trajectories if all runs of the arm have them, else the training rollouts of the model with as
    many updates, which are played on fresh scenarios before it learns from them. A cell is empty if an algorithm
    plays them.
    """
    updates = range(1 + max(int(run.rows[-1]["iteration"]) for runs in arms.values() for run in runs))
    parts = []
    for title, key in SHOWN.items():
        rows = {label: [_cell(runs, n, key) for n in updates] for label, runs in arms.items()}
        if any(cell for cells in rows.values() for cell in cells):
            lines = [f"| {title} after updates | {' | '.join(map(str, updates))} |", "|---" * (1 + len(updates)) + "|"]
            parts.append("\n".join(lines + [f"| {' | '.join([label, *cells])} |" for label, cells in rows.items()]))
    return "\n\n".join([*parts, LEGEND]) + "\n"


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean and 95 % t-interval of one value per seed; NaN bounds for a single seed or equal values."""
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    if len(set(values)) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def _cell(runs: Sequence[Outcome], updates: int, key: str) -> str:
    held_out = [_row(run, updates).get(f"heldout/{key}") for run in runs]
    fresh = [None if run.taught else _row(run, updates + 1).get(f"rollout/{key}") for run in runs]
    values = [value for value in (fresh if None in held_out else held_out) if value is not None]
    if not values:
        return ""
    mean, low, high = over_seeds(values)
    bounds = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
    return f"{mean:.3f}{bounds}{'' if None in held_out else '*'}"


def _row(run: Outcome, n: int) -> Mapping[str, float | None]:
    return next((row for row in run.rows if int(row["iteration"]) == n), {})
