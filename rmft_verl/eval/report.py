"""Write tables and figures from trajectories and metrics: files only, without a live run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl.eval.figures import draw_regret_curves, from_zero, new_figure, player_styles, save
from rmft_verl.eval.table import EvalRow, EvalTable, summarize
from rmft_verl.players import PLAYERS
from rmft_verl.store.run_dir import write_text
from rmft_verl.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD_OUT, ROLLOUTS, KEPT = "heldout", "rollout", "kept"
SIDES = {HELD_OUT: ("held-out", "#0072B2"), ROLLOUTS: ("all rollouts", "#009E73"), KEPT: ("kept of them", "#D55E00")}
"""Prefixes of the metrics rows that ``learning.png`` draws -> label and color."""

PANELS = {
    "normalized_regret": "normalized regret (0 oracle, 1 uniform)",
    "suffix_failure": "SuffFailFreq (T/2)",
    "invalid_rate": "share of invalid replies",
}
"""Metrics that it draws, one panel each -> label of the axis."""


def write_report(
    directory: Path,
    sets: Mapping[str, Sequence[Trajectory]],
    metrics_rows: Sequence[Mapping[str, Any]],
    remark: str = "",
    page: Callable[[EvalTable], None] | None = None,
) -> EvalTable:
    """Write table.txt, table.json, regret_curves.png and, given rows of iterations, learning.png; return the table.

    ``sets``: scored trajectories by player, in the order of the table. ``directory`` is made if missing. ``remark``: a
    line below the table. ``page`` writes what else shows the table.
    """
    table = dataclasses.replace(summarize(sets), remark=remark)
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "table.txt", table.text())
    draw_regret_curves(sets, directory / "regret_curves.png")
    if any(row["iteration"] for row in metrics_rows):  # 0 measures the base
        draw_learning(metrics_rows, table.rows, directory / "learning.png")
    if page is not None:
        page(table)
    write_text(
        directory / "table.json", json.dumps(table.to_json(), indent=2) + "\n"
    )  # last: it marks a complete report
    return table


def draw_learning(metrics_rows: Sequence[Mapping[str, Any]], players: Sequence[EvalRow], path: Path) -> None:
    """Normalized regret, SuffFailFreq and invalid replies per iteration: held out, of all rollouts, of the kept ones.

    Rollouts of iteration n are those that update n learns from, so the model with n - 1 updates played them. Bands are
    95 % intervals over scenarios, thin horizontal lines the classical ones of ``players``. A line skips rows without
    its number, and a panel without any is left out, such as SuffFailFreq in full information.
    """
    shown = {
        key: label for key, label in PANELS.items() if any(_values(metrics_rows, f"{side}/{key}") for side in SIDES)
    }
    if not shown:
        return
    figure, axes = new_figure(height=4.2, panels=len(shown))
    panels = np.atleast_1d(axes)
    for panel, (key, label) in zip(panels, shown.items(), strict=True):
        for side, (name, color) in SIDES.items():
            _draw_side(panel, metrics_rows, f"{side}/{key}", name, color)
        _draw_players(panel, players, key)
        panel.set_xlabel("iteration")
        panel.set_ylabel(label)
        from_zero(panel)
        if key == "invalid_rate":
            panel.set_ylim(0, max(1.08 * panel.dataLim.y1, 0.01))
            panel.yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=9)
    save(figure, path)


def _draw_side(panel: Axes, rows: Sequence[Mapping[str, Any]], key: str, name: str, color: str) -> None:
    """A line of the values of ``key``, with a band where the rows have its interval."""
    values, low, high = (_values(rows, f"{key}{end}") for end in ("", "_low", "_high"))
    panel.plot(list(values), list(values.values()), "o-", markersize=4, color=color, label=name, zorder=3)
    banded = [n for n in low if n in high]
    lowest, highest = ([end[n] for n in banded] for end in (low, high))
    panel.fill_between(banded, lowest, highest, color=color, alpha=0.15, linewidth=0)


def _draw_players(panel: Axes, players: Sequence[EvalRow], key: str) -> None:
    """Horizontal lines of the classical players, which never give an invalid reply."""
    styles = player_styles([row.player for row in players])
    for row in players:
        height = {"normalized_regret": row.normalized_regret.value, "suffix_failure": row.suffix_failure}.get(key)
        if row.player in PLAYERS and height is not None and not np.isnan(height):
            color, dash, width, _ = styles[row.player]
            panel.axhline(height, color=color, linestyle=dash, linewidth=width, label=row.player, zorder=2)


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    """Iteration -> value, of the rows that have it."""
    return {int(row["iteration"]): float(row[key]) for row in rows if row.get(key) is not None}
