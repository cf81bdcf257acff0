"""Write tables and figures from trajectories and metrics: files only, without a live run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmft_verl.eval.figures import draw_regret_curves, from_zero, new_figure, save
from rmft_verl.eval.table import EvalTable, summarize
from rmft_verl.store.run_dir import write_text
from rmft_verl.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REGRET_KEY = "heldout/normalized_regret"
KEPT_KEY = "kept/normalized_regret"
SUFFIX_KEY = "heldout/suffix_failure"
"""Keys of the metrics rows that ``learning.png`` draws, besides ``iteration`` and REGRET_KEY + ``_low``, ``_high``."""


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
        draw_learning(metrics_rows, directory / "learning.png")
    if page is not None:
        page(table)
    write_text(
        directory / "table.json", json.dumps(table.to_json(), indent=2) + "\n"
    )  # last: it marks a complete report
    return table


def draw_learning(metrics_rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Held-out and kept normalized regret (left) and held-out SuffFailFreq (right) per iteration.

    The line of a key skips rows without it.
    """
    figure, axes = new_figure(height=3.8, panels=2)
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
        from_zero(panel)
    save(figure, path)


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str, color: str) -> None:
    known = [row for row in rows if row.get(key) is not None]
    axes.plot([row["iteration"] for row in known], [row[key] for row in known], "o-", color=color, label=label)
