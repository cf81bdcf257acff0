"""One figure of a comparison: regret by iteration, and regret against suffix failures; one row per environment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl.eval import metrics
from rmft_verl.eval.compare.many_arms import A_ROW, draw_many
from rmft_verl.eval.compare.numbers import Arms, Comparison, Line
from rmft_verl.eval.compare.results import HELD_OUT, Outcome
from rmft_verl.eval.figures import ALGORITHM_STYLES, SUBJECT_COLORS, UNIFORM_STYLE, save, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

ROLLOUTS, KEPT = "rollout/normalized_regret", "kept/normalized_regret"
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))
"""Dashes of the arms: the next one each time that the palette starts again."""

BASE_STYLE = ("#000000", (0, (6, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Markers of the arms, which tell them apart without colors."""

REFERENCE_MARKERS = ("+", "x", "1", "2", "3", "4", "*")


def draw(arms: Arms, comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw normalized regret by iteration (left) and held-out regret against SuffFailFreq (right).

    The left panel shows held-out regret if there were evaluations between the first and the last, or if environments
    are mixed; else the regret of rollouts and of kept trajectories (dashed). Thick lines are means over seeds, thin
    lines single seeds, horizontal lines the base and the reference players. Games without SuffFailFreq show regret
    alone on the right. Large markers are arms, small ones single seeds. With more arms than colors see ``draw_many``.
    """
    from matplotlib.figure import Figure

    if max(sum(line.kind == "arm" for line in one.lines) for one in comparisons) > len(SUBJECT_COLORS):
        _draw_many(arms, comparisons, path)
        return
    figure = Figure(figsize=(10.5, 4.0 * len(comparisons)), layout="constrained")
    grid = figure.subplots(len(comparisons), 2, squeeze=False)
    several = len(comparisons) > 1
    styles = _styles(list(arms), comparisons)
    for (left, right), one in zip(grid, comparisons, strict=True):
        for panel in (left, right):
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(alpha=0.25, linewidth=0.6)
        parts = _parts(arms, one)
        _draw_course(left, parts, one, styles, several)
        _draw_ends(right, parts, one, styles)
        if several:
            left.set_title(f"{one.environment}", fontsize=10, loc="left")
    handles = [_handle(name, style) for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9, handlelength=3.2)
    save(figure, path)


def _draw_many(arms: Arms, comparisons: Sequence[Comparison], path: Path) -> None:
    from matplotlib.figure import Figure

    heights = [0.24 * len(one.lines) + 1.5 * math.ceil(len(arms) / A_ROW) + 1.3 for one in comparisons]
    figure = Figure(figsize=(11.5, sum(heights)), layout="constrained")
    several = len(comparisons) > 1
    parts: Any = figure.subfigures(len(comparisons), 1, squeeze=False, height_ratios=heights)
    for part, one in zip(parts[:, 0], comparisons, strict=True):
        here = _parts(arms, one)
        key = _key(here, one, several)
        label = "normalized regret" + (", all rollouts" if key == ROLLOUTS else ", held out")
        draw_many(part, one, here, lambda run, key=key: _course(run, key), label)  # type: ignore[misc]
        if several:
            part.suptitle(one.environment, fontsize=10, x=0.01, ha="left")
    save(figure, path)


def _parts(arms: Arms, one: Comparison) -> dict[str, list[Outcome]]:
    """The runs of each arm, within one environment."""
    labels = [line.name for line in one.lines if line.kind == "arm"]
    return {label: [run.within(one.environment) for run in arms[label]] for label in labels}


def _key(arms: Mapping[str, Sequence[Outcome]], one: Comparison, several: bool) -> str:
    """What the course shows: held-out regret if it was measured on the way or environments are mixed, else rollouts."""
    if several:
        return f"{HELD_OUT}/{one.environment}"
    on_the_way = any(len(_course(run, HELD_OUT)) > 2 for part in arms.values() for run in part)
    return HELD_OUT if on_the_way else ROLLOUTS


Style = dict[str, Any]


def _styles(labels: Sequence[str], comparisons: Sequence[Comparison]) -> dict[str, Style]:
    """Row name -> its color, dash, marker and line width."""
    styles: dict[str, Style] = {}
    for index, label in enumerate(labels):
        round_, place = divmod(index, len(SUBJECT_COLORS))
        marker = MARKERS[(place + round_) % len(MARKERS)]
        dash = DASHES[round_ % len(DASHES)]
        styles[label] = {"color": SUBJECT_COLORS[place], "linestyle": dash, "marker": marker, "linewidth": 2.4}
    bases = list(dict.fromkeys(line.name for one in comparisons for line in one.lines if line.kind == "base"))
    for index, name in enumerate(bases):
        styles[name] = {
            "color": BASE_STYLE[0],
            "linestyle": BASE_STYLE[1],
            "marker": MARKERS[-1 - index % 3],
            "linewidth": 1.6,
        }
    others = list(dict.fromkeys(line.name for one in comparisons for line in one.lines if line.kind == "reference"))
    algorithms = [name for name in others if name.split()[0] != "uniform"]
    for index, name in enumerate(others):
        which = algorithms.index(name) if name in algorithms else -1
        color, dash = (*ALGORITHM_STYLES, UNIFORM_STYLE)[which % len(ALGORITHM_STYLES) if which >= 0 else -1]
        marker = REFERENCE_MARKERS[index % len(REFERENCE_MARKERS)]
        styles[name] = {"color": color, "linestyle": dash, "marker": marker, "linewidth": 1.2}
    return styles


def _handle(name: str, style: Style) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, markersize=7, **style)


def _draw_course(
    panel: Axes, arms: Mapping[str, Sequence[Outcome]], one: Comparison, styles: Mapping[str, Style], several: bool
) -> None:
    key = _key(arms, one, several)
    keys = {ROLLOUTS: False, KEPT: True} if key == ROLLOUTS else {key: False}
    for line in one.lines:
        if line.kind != "arm":
            style = {key: value for key, value in styles[line.name].items() if key != "marker"}
            panel.axhline(line.row.normalized_regret.value, **style)
    for label, part in arms.items():
        for drawn, dashed in keys.items():
            _draw_seeds(panel, [_course(run, drawn) for run in part], styles[label], dashed)
    panel.set_xlabel("iteration")
    panel.set_ylabel(f"{'' if key == ROLLOUTS else 'held-out '}normalized regret (0 oracle, 1 uniform)")
    if key == ROLLOUTS:
        panel.set_title("all rollouts of the iteration; dashed: kept for training", fontsize=10)
    whole_numbers(panel)
    low, high = panel.get_ylim()
    panel.set_ylim(min(low, 0.0), high)


def _draw_seeds(panel: Axes, courses: Sequence[Mapping[int, float]], style: Style, dashed: bool) -> None:
    color, dash = style["color"], (0, (2, 1.2)) if dashed else style["linestyle"]
    if len(courses) > 1:
        for course in courses:
            panel.plot(list(course), list(course.values()), color=color, linestyle=dash, linewidth=0.7, alpha=0.5)
    shared = sorted(set.intersection(*(set(course) for course in courses)))
    means = [float(np.mean([course[n] for course in courses])) for n in shared]
    panel.plot(
        shared,
        means,
        color=color,
        linestyle=dash,
        linewidth=2.4,
        marker=style["marker"],
        markersize=5,
    )


def _course(run: Outcome, key: str) -> dict[int, float]:
    """Iteration -> value; empty for rollouts that an algorithm played."""
    if run.taught and key in (ROLLOUTS, KEPT):
        return {}
    return {int(row["iteration"]): float(row[key]) for row in run.rows if row.get(key) is not None}


def _draw_ends(
    panel: Axes, arms: Mapping[str, Sequence[Outcome]], one: Comparison, styles: Mapping[str, Style]
) -> None:
    counts = not all(np.isnan(line.row.suffix_failure) for line in one.lines)
    places = {line.name: -float(index) for index, line in enumerate(one.lines)}

    def height(line: Line) -> float:
        return line.row.suffix_failure if counts else places[line.name]

    for line in one.lines:
        style, value = styles[line.name], line.row.normalized_regret
        point = {"color": style["color"], "marker": style["marker"], "linestyle": "none", "clip_on": False}
        panel.plot([value.value], [height(line)], markersize=10 if line.kind == "arm" else 8, zorder=3, **point)
        if not np.isnan(value.low):
            panel.plot([value.low, value.high], [height(line)] * 2, color=style["color"], linewidth=1, alpha=0.6)
        for run in arms.get(line.name, ()):
            there = metrics.suffix_failure_frequency(run.trained) if counts else height(line)
            regret = metrics.value_or(metrics.UNKNOWN, metrics.normalized_regret, run.trained)
            panel.plot([regret], [there], markersize=4, alpha=0.6, markeredgewidth=0, zorder=2, **point)
    panel.set_xlabel("held-out normalized regret (0 oracle, 1 uniform)")
    if counts:
        panel.set_ylabel("SuffFailFreq, held out")
        panel.set_ylim(0, max(1.1 * panel.dataLim.y1, 0.1))
    else:
        panel.set_yticks(list(places.values()), list(places))
