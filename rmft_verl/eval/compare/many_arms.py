"""The figure of a comparison of many arms: each arm's end by name, and a small panel for the course of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl.eval import metrics
from rmft_verl.eval.compare.numbers import Comparison, Line
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.figures import SUBJECT_COLORS, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

COLORS = {"arm": SUBJECT_COLORS[0], "base": "#000000", "reference": "#8C6D1F"}
"""Kind of a row -> its color: with so many arms names tell them apart, not colors."""

A_ROW = 6
"""Small panels in a row."""

Course = Callable[[Outcome], Mapping[int, float]]
"""Run -> iteration -> normalized regret."""


def draw_many(
    figure: Figure | SubFigure, one: Comparison, arms: Mapping[str, Sequence[Outcome]], course: Course, label: str
) -> None:
    """Fill ``figure``: held-out regret and SuffFailFreq of every row, lowest regret first; below, a panel per arm.

    A small panel shows the arm's single seeds (thin) and their mean (thick) before those of all other arms (grey), the
    base (dashed) and the best reference (brown). ``label``: what ``course`` shows.
    """
    rows = math.ceil(len(arms) / A_ROW)
    halves: Any = figure.subfigures(2, 1, height_ratios=[0.24 * len(one.lines) + 0.8, 1.5 * rows + 0.5])
    above, below = halves
    _draw_ends(above, one, arms)
    grid = below.subplots(rows, A_ROW, squeeze=False, sharex=True, sharey=True).ravel()
    courses = {name: [course(run) for run in runs] for name, runs in arms.items()}
    means = {name: _mean(several) for name, several in courses.items()}
    best = min((line for line in one.lines if line.kind == "reference"), key=_regret, default=None)
    for panel in grid[len(arms) :]:
        panel.remove()
    for panel, name in zip(grid, arms, strict=False):
        _plain(panel)
        for line, dash in [(line, (0, (5, 2))) for line in one.lines if line.kind == "base"] + [(best, "-")]:
            if line is not None:
                panel.axhline(_regret(line), color=COLORS[line.kind], linestyle=dash, linewidth=1)
        for other, mean in means.items():
            if other != name:
                panel.plot(list(mean), list(mean.values()), color="#CCCCCC", linewidth=0.8, zorder=1)
        for one_course in courses[name]:
            panel.plot(list(one_course), list(one_course.values()), color=COLORS["arm"], linewidth=0.7, alpha=0.6)
        panel.plot(list(means[name]), list(means[name].values()), "o-", color=COLORS["arm"], markersize=3)
        panel.set_title(name if means[name] else f"{name} (played by an algorithm)", fontsize=9 if means[name] else 7)
        panel.tick_params(labelsize=8, labelbottom=True)
        whole_numbers(panel, most=6)
    shown = "dashed: base" + (f"; brown: {best.name}" if best else "")
    below.supxlabel(f"iteration (blue: the arm, thin: its seeds; grey: the others; {shown})", fontsize=9)
    below.supylabel(label, fontsize=9)


def _draw_ends(figure: Any, one: Comparison, arms: Mapping[str, Sequence[Outcome]]) -> None:
    lines = sorted(one.lines, key=_regret, reverse=True)
    counts = not all(np.isnan(line.row.suffix_failure) for line in lines)
    panels = figure.subplots(1, 2 if counts else 1, sharey=True, squeeze=False)[0]
    for height, line in enumerate(lines):
        color, value = COLORS[line.kind], line.row.normalized_regret
        panels[0].plot([value.low, value.high], [height, height], color=color, linewidth=1.4)
        ends: list[tuple[float, Any]] = [(value.value, _seed_regret)]
        if counts:
            ends.append((line.row.suffix_failure, metrics.suffix_failure_frequency))
        for panel, (end, of_seed) in zip(panels, ends, strict=True):
            seeds = [of_seed(run.trained) for run in arms.get(line.name, ())]
            panel.plot(seeds, [height] * len(seeds), "o", color=color, markersize=3.5, alpha=0.5, markeredgewidth=0)
            panel.plot([end], [height], "D" if line.kind == "reference" else "o", color=color, markersize=6)
    for panel in panels:
        _plain(panel)
    panels[0].set_yticks(range(len(lines)), [line.name for line in lines], fontsize=9)
    panels[0].set_xlabel("held-out normalized regret (0 oracle, 1 uniform), 95 %; small: seeds", fontsize=9)
    if counts:
        panels[1].set_xlabel("SuffFailFreq, held out", fontsize=9)
        panels[1].set_xlim(left=0)


def _seed_regret(played: Sequence[Any]) -> float:
    return metrics.value_or(metrics.UNKNOWN, metrics.normalized_regret, played)


def _regret(line: Line) -> float:
    return line.row.normalized_regret.value


def _mean(courses: Sequence[Mapping[int, float]]) -> dict[int, float]:
    shared = sorted(set.intersection(*(set(course) for course in courses)))
    return {n: float(np.mean([course[n] for course in courses])) for n in shared}


def _plain(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6)
