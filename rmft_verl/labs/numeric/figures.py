"""Figures of the numerical track, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.eval.figures import ALGORITHM_STYLES, SUBJECT_COLORS, UNIFORM_STYLE, save

Curves = Mapping[tuple[str, int], np.ndarray]
"""Family -> cumulative regret, shape (K, S, T): seeds, scenarios, rounds."""

REFERENCES = ("hedge", "ftrl_l2", "ftpl", "ftl", "exp3", "ucb1", "thompson", "greedy")


def draw_growth(players: Mapping[str, Curves], path: Path) -> None:
    """One column per family: mean cumulative regret over rounds, one line per player, and log-log below.

    If a family was played at several horizons, the longest is shown. A mean regret of 0 or below has no logarithm: its
    rounds are marks at the bottom of the lower panel, a row per player.
    """
    first = next(iter(players.values()))
    longest = {name: max(horizon for other, horizon in first if other == name) for name, _ in first}
    figure, axes = panels(2, len(longest), 2.6)
    styles = _styles(list(players))
    for column, (name, horizon) in enumerate(longest.items()):
        rounds = np.arange(1, horizon + 1)
        for place, (player, found) in enumerate(players.items()):
            mean_T = found[name, horizon].mean(axis=(0, 1))
            axes[0, column].plot(rounds, mean_T, label=player, **styles[player])
            axes[1, column].plot(rounds, np.where(mean_T > 0, mean_T, np.nan), **styles[player])
            lost = rounds[mean_T <= 0]
            at_bottom = {"transform": axes[1, column].get_xaxis_transform(), "in_layout": False}
            color = styles[player]["color"]
            axes[1, column].plot(lost, [0.02 + 0.025 * place] * len(lost), "s", ms=1.6, color=color, **at_bottom)
        axes[0, column].set_title(f"{name}, T = {horizon}", fontsize=10)
        axes[1, column].set(xscale="log", yscale="log", xlabel="round")
        axes[1, column].plot(rounds, 0.1 * rounds, color="#dddddd", linewidth=1, zorder=0)
    axes[0, 0].set_ylabel("mean regret (reward units)")
    axes[1, 0].set_ylabel("the same, log-log (grey: slope 1;\nmarks at the bottom: 0 or below)")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    save(figure, path)


def draw_decisions(decisions: Mapping[str, np.ndarray], path: Path) -> None:
    """Decisions on one sequence, shape (T, D) per player: one panel per coordinate, over rounds."""
    n_coordinates = next(iter(decisions.values())).shape[1]
    figure, axes = panels(1, n_coordinates, 3.2)
    lowest = -1.05 if min(decisions_T_D.min() for decisions_T_D in decisions.values()) < 0 else -0.05
    styles = [{"color": "#444444", "linewidth": 3.5, "alpha": 0.45}]
    styles += [{"color": color, "linewidth": 1.6, "marker": "o", "markersize": 3} for color in SUBJECT_COLORS]
    for coordinate, panel in enumerate(axes[0]):
        for (name, decisions_T_D), style in zip(decisions.items(), styles, strict=False):
            rounds = np.arange(1, len(decisions_T_D) + 1)
            panel.plot(rounds, decisions_T_D[:, coordinate], label=name, **style)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set(xlabel="round", ylabel=f"coordinate {coordinate + 1} of the decision", ylim=(lowest, 1.05))
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    save(figure, path)


def draw_paths(paths: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Training over iterations: the rate, and the error against FTRL at the theorem's rate; one line per path."""
    figure, axes = panels(1, 2, 3.6)
    for color, (name, rows) in zip(SUBJECT_COLORS * 3, paths.items(), strict=False):
        iterations = [row["iteration"] for row in rows]
        axes[0, 0].plot(iterations, [row["heldout/ftrl_rate"] for row in rows], color=color, label=name)
        axes[0, 1].plot(iterations, [row["heldout/ftrl_error"] for row in rows], color=color, label=name)
    axes[0, 0].axhline(1, color="#999999", linewidth=1, linestyle=(0, (1, 1)))
    axes[0, 0].set(xlabel="iteration", ylabel="rate / rate of the theorem")
    axes[0, 1].set(xlabel="iteration", ylabel="relative error against FTRL\nat the theorem's rate", ylim=(0, None))
    axes[0, 1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    save(figure, path)


def panels(rows: int, columns: int, height: float) -> tuple[Any, Any]:
    """A figure and its axes, shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(3.0 * columns, 5.0) + 1.6, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.ravel():
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _styles(players: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Thick and colored for models, thin and dashed for algorithms."""
    models = [player for player in players if player not in (*REFERENCES, "uniform")]
    styles: dict[str, dict[str, Any]] = {}
    for name in players:
        if name in models:
            styles[name] = {"color": SUBJECT_COLORS[models.index(name) % len(SUBJECT_COLORS)], "linewidth": 2.2}
            continue
        thin = UNIFORM_STYLE if name == "uniform" else ALGORITHM_STYLES[REFERENCES.index(name) % len(ALGORITHM_STYLES)]
        styles[name] = {"color": thin[0], "linestyle": thin[1], "linewidth": 1.3}
    return styles
