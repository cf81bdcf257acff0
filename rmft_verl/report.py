"""Trajectories and metrics -> tables and figures. Files only: nothing is shown, nothing is asked of a live run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl.evaluate import EvalTable, summarize
from rmft_verl.metrics import bootstrap, scored
from rmft_verl.regret import regret_curve
from rmft_verl.run_dir import replacing, write_text
from rmft_verl.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REGRET_KEY = "heldout/normalized_regret"
KEPT_KEY = "kept/normalized_regret"
SUFFIX_KEY = "heldout/suffix_failure"
"""Names in the metrics rows that ``learning.png`` draws, beside ``iteration`` and REGRET_KEY + ``_low``, ``_high``."""

SUBJECT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""For the players under study, drawn thick. Okabe and Ito's palette: told apart by color-blind readers too."""
REFERENCE_STYLES = {
    "uniform": ("#999999", (0, (1, 1))),
    "greedy": ("#8C6D1F", (0, (5, 2))),
    "ucb1": ("#444444", "-"),
    "thompson": ("#7B5EA7", (0, (5, 1, 1, 1))),
    "oracle": ("#000000", (0, (1, 3))),
}
"""Color and dash of the reference players, drawn thin."""


def write_report(
    directory: Path, sets: Mapping[str, Sequence[Trajectory]], metrics_rows: Sequence[Mapping[str, Any]]
) -> EvalTable:
    """Write table.txt, table.json, regret_curves.png and, given metrics rows, learning.png; return the table.

    ``sets``: scored trajectories by player, in the order of the table. ``directory`` is made if missing.
    """
    table = summarize(sets)
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "table.txt", table.text())
    write_text(directory / "table.json", json.dumps(table.to_json(), indent=2) + "\n")
    draw_regret_curves(sets, directory / "regret_curves.png")
    if metrics_rows:
        draw_learning(metrics_rows, directory / "learning.png")
    return table


def mean_curve(trajectories: Sequence[Trajectory], horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean cumulative regret over scenarios after rounds 1..horizon and its 95 % interval (low, high), shape (T,)."""
    curves: dict[str, list[np.ndarray]] = {}
    for trajectory in scored(trajectories):
        curve_T = regret_curve(trajectory.oracle, trajectory.actions_T)[:horizon]
        curves.setdefault(trajectory.scenario.id, []).append(curve_T)
    curves_S_T = np.array([np.mean(episodes, axis=0) for episodes in curves.values()])
    low_T, high_T = bootstrap(curves_S_T, lambda means: means, seed=0)
    return curves_S_T.mean(axis=0), low_T, high_T


def draw_regret_curves(sets: Mapping[str, Sequence[Trajectory]], path: Path) -> None:
    """Mean cumulative regret over rounds with 95 % bands over scenarios, one line per set.

    Where horizons differ the curves end with the shortest: beyond it a mean would change its scenarios on the way.
    """
    horizons = {trajectory.scenario.horizon for trajectories in sets.values() for trajectory in trajectories}
    horizon = min(horizons)
    figure, axes = _figure(height=4.5)
    subjects = [name for name in sets if name not in REFERENCE_STYLES]
    for name, trajectories in sets.items():
        mean_T, low_T, high_T = mean_curve(trajectories, horizon)
        color, dash, width, shade = _style(name, subjects)
        rounds = np.arange(1, horizon + 1)
        axes.plot(
            rounds, mean_T, color=color, linestyle=dash, linewidth=width, label=name, zorder=2 + width, clip_on=False
        )
        axes.fill_between(rounds, low_T, high_T, color=color, alpha=shade, linewidth=0)
    shown = "" if len(horizons) == 1 else f" (horizons {horizon} to {max(horizons)}: the first {horizon} rounds)"
    axes.set_xlabel(f"round{shown}")
    axes.set_ylabel("cumulative pseudo-regret (reward units)")
    axes.set_xlim(1, max(horizon, 2))
    _from_zero(axes)
    _legend_by_height(axes)
    _save(figure, path)


def draw_learning(metrics_rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Held-out and kept normalized regret (left) and held-out SuffFailFreq (right) per iteration.

    Rows without a key leave a gap in its line.
    """
    figure, axes = _figure(height=3.8, panels=2)
    for key, label, color in ((REGRET_KEY, "held-out", "#0072B2"), (KEPT_KEY, "kept for training", "#D55E00")):
        _line(axes[0], metrics_rows, key, label, color)
    banded = [row for row in metrics_rows if row.get(f"{REGRET_KEY}_low") is not None]
    low, high = ([row[f"{REGRET_KEY}_{side}"] for row in banded] for side in ("low", "high"))
    axes[0].fill_between([row["iteration"] for row in banded], low, high, color="#0072B2", alpha=0.15, linewidth=0)
    axes[0].set_ylabel("normalized regret (0 oracle, 1 uniform)")
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    _line(axes[1], metrics_rows, SUFFIX_KEY, "held-out", "#0072B2")
    axes[1].set_ylabel("SuffFailFreq (T/2), held-out")
    for panel in axes:
        panel.set_xlabel("iteration")
        _from_zero(panel)
    _save(figure, path)


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str, color: str) -> None:
    known = [row for row in rows if row.get(key) is not None]
    axes.plot([row["iteration"] for row in known], [row[key] for row in known], "o-", color=color, label=label)


def _style(name: str, subjects: Sequence[str]) -> tuple[str, Any, float, float]:
    """Color, dash, line width and opacity of the band."""
    if name in REFERENCE_STYLES:
        return *REFERENCE_STYLES[name], 1.3, 0.08
    return SUBJECT_COLORS[subjects.index(name) % len(SUBJECT_COLORS)], "-", 2.4, 0.18


def _figure(height: float, panels: int = 1) -> tuple[Figure, Any]:
    """A figure of its own, drawn by Agg: no pyplot, no global state, no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5 if panels == 1 else 9.0, height), layout="constrained")
    axes = figure.subplots(1, panels)
    for panel in np.atleast_1d(axes):
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _from_zero(axes: Axes) -> None:
    """Counts along x, and y from 0 with room above the highest point."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(0, max(1.08 * axes.dataLim.y1, 0.1))


def _legend_by_height(axes: Axes) -> None:
    """A legend right of the axes in the order in which the curves end, so that lines and names line up."""
    lines = sorted(axes.get_lines(), key=lambda line: -float(np.asarray(line.get_ydata())[-1]))
    axes.legend(handles=lines, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
