"""Figures of trajectories, as PNG files: regret over rounds, regret per scenario, choices over rounds.

Agg draws each on its own figure object: no pyplot, no global state, no display. Colors are Okabe and Ito's, or one
hue from light to dark, so color-blind readers can tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl.env.regret import regret_curve, uniform_regret
from rmft_verl.eval.metrics import bootstrap, scored
from rmft_verl.players import PLAYERS
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.store.run_dir import replacing
from rmft_verl.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUBJECT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colors of the players under study, which are drawn thick."""

UNIFORM_STYLE = ("#999999", (0, (1, 1)))
ORACLE_STYLE = ("#000000", (0, (1, 3)))
ALGORITHM_STYLES = (
    ("#8C6D1F", (0, (5, 2))),
    ("#444444", "-"),
    ("#7B5EA7", (0, (5, 1, 1, 1))),
    ("#2F7F79", (0, (3, 1))),
    ("#A8456B", (0, (7, 2, 1, 2))),
    ("#5B7083", (0, (2, 1, 2, 3))),
)
"""Color and dash of the classical players, which are drawn thin, in order of appearance."""

REGRET_NAMES = {
    "pseudo": "pseudo-regret",
    "external": "external regret",
    "dynamic": "dynamic regret",
    "contextual": "contextual regret",
}

PANELS_A_ROW = 5


# ---- numbers --------------------------------------------------------------------------------------------------------


def mean_curve(trajectories: Sequence[Trajectory], horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean cumulative regret over scenarios after rounds 1..horizon and its 95 % interval (low, high), shape (T,)."""
    curves: dict[str, list[np.ndarray]] = {}
    for trajectory in scored(trajectories):
        curve_T = regret_curve(trajectory.oracle, trajectory.actions_T)[:horizon]
        curves.setdefault(trajectory.scenario.id, []).append(curve_T)
    curves_S_T = np.array([np.mean(episodes, axis=0) for episodes in curves.values()])
    low_T, high_T = bootstrap(curves_S_T, lambda means: means, seed=0)
    return curves_S_T.mean(axis=0), low_T, high_T


def against_uniform(trajectories: Sequence[Trajectory]) -> tuple[np.ndarray, np.ndarray]:
    """Expected regret of uniform play and mean regret of the player in each scenario, shape (S,); reward units."""
    scenarios: dict[str, list[tuple[float, float]]] = {}
    for trajectory in scored(trajectories):
        assert trajectory.regret is not None
        both = uniform_regret(trajectory.oracle), trajectory.regret
        scenarios.setdefault(trajectory.scenario.id, []).append(both)
    values_S = np.array([np.mean(episodes, axis=0) for episodes in scenarios.values()])
    return values_S[:, 0], values_S[:, 1]


def choice_shares(trajectories: Sequence[Trajectory], horizon: int) -> np.ndarray:
    """Mean probability of choosing the action of each rank in each round; shape (rank, T), columns sum to 1.

    Rank 1 (the first row) is the action with the highest expected reward in that round or, in full-information games,
    the highest total reward, as in external regret. A round that was not played counts as uniform play.
    """
    finished = scored(trajectories)
    ranks = max(len(trajectory.scenario.actions) for trajectory in finished)
    shares_R_T = np.zeros((ranks, horizon))
    for trajectory in finished:
        policy_T_A, worth_T_A = _policy(trajectory)[:horizon], trajectory.oracle.expected_T_A
        if trajectory.oracle.kind == "external":
            worth_T_A = np.broadcast_to(worth_T_A.sum(axis=0), worth_T_A.shape)
        order_T_A = np.argsort(-worth_T_A[:horizon], axis=1, kind="stable")
        shares_R_T[: policy_T_A.shape[1]] += np.take_along_axis(policy_T_A, order_T_A, axis=1).T
    return shares_R_T / len(finished)


def _policy(trajectory: Trajectory) -> np.ndarray:
    """The actions played as points of the simplex, shape (T, A)."""
    n_actions = len(trajectory.scenario.actions)
    policy_T_A = np.full((trajectory.scenario.horizon, n_actions), 1.0 / n_actions)
    for t, action in enumerate(trajectory.actions_T):
        if action is not None:
            policy_T_A[t] = action if isinstance(action, tuple) else np.arange(n_actions) == action
    return policy_T_A


# ---- figures --------------------------------------------------------------------------------------------------------


def draw_regret_curves(sets: Mapping[str, Sequence[Trajectory]], path: Path) -> None:
    """Mean cumulative regret over rounds with 95 % bands over scenarios, one line per set.

    If horizons differ, the curves end at the shortest: beyond it the mean would be over other scenarios.
    """
    sets = _drawable(sets)
    horizon, longest = horizons(sets)
    figure, axes = new_figure(height=4.5)
    styles = player_styles(list(sets))
    for name, trajectories in sets.items():
        mean_T, low_T, high_T = mean_curve(trajectories, horizon)
        color, dash, width, shade = styles[name]
        rounds = np.arange(1, horizon + 1)
        axes.plot(
            rounds, mean_T, color=color, linestyle=dash, linewidth=width, label=name, zorder=2 + width, clip_on=False
        )
        axes.fill_between(rounds, low_T, high_T, color=color, alpha=shade, linewidth=0)
    shown = "" if horizon == longest else f" (horizons {horizon} to {longest}: the first {horizon} rounds)"
    axes.set_xlabel(f"round{shown}")
    axes.set_ylabel(f"cumulative {_regret_name(sets)} (reward units)")
    axes.set_xlim(1, max(horizon, 2))
    from_zero(axes)
    _legend_by_height(axes)
    save(figure, path)


def draw_scenarios(sets: Mapping[str, Sequence[Trajectory]], path: Path) -> None:
    """One panel per player: its regret against uniform play's in each scenario; below the line is better."""
    sets = _drawable(sets)
    figure, panels = _grid(len(sets))
    styles = player_styles(list(sets))
    points = {name: against_uniform(trajectories) for name, trajectories in sets.items()}
    high = 1.05 * max(max(uniform_S.max(), regret_S.max()) for uniform_S, regret_S in points.values())
    low = min(0.0, 1.05 * min(regret_S.min() for _, regret_S in points.values()))
    for panel, (name, (uniform_S, regret_S)) in zip(panels, points.items(), strict=True):
        panel.axline((0, 0), slope=1, color="#999999", linewidth=1, linestyle=(0, (1, 1)))
        panel.scatter(
            uniform_S, regret_S, s=14, color=styles[name][0], alpha=0.55, linewidth=0, zorder=3, clip_on=False
        )
        panel.set_title(f"{name}\nbelow uniform in {np.mean(regret_S < uniform_S):.0%}", fontsize=9)
        panel.set_xlim(0, max(high, 0.1))
        panel.set_ylim(low, max(high, 0.1))
    figure.supxlabel("expected regret of uniform play in the scenario (reward units)", fontsize=10)
    figure.supylabel(_regret_name(sets), fontsize=10)
    save(figure, path)


def draw_choices(sets: Mapping[str, Sequence[Trajectory]], path: Path) -> None:
    """One panel per player: the ``choice_shares`` of each true rank by round."""
    sets = _drawable(sets)
    horizon, _ = horizons(sets)
    figure, panels = _grid(len(sets))
    kinds = {trajectory.oracle.kind for trajectories in sets.values() for trajectory in scored(trajectories)}
    for panel, (name, trajectories) in zip(panels, sets.items(), strict=True):
        shares_R_T = choice_shares(trajectories, horizon)
        ranks = len(shares_R_T)
        extent = (0.5, horizon + 0.5, ranks + 0.5, 0.5)
        image = panel.imshow(shares_R_T, vmin=0, vmax=1, cmap="Blues", aspect="auto", extent=extent)
        panel.set_title(name, fontsize=9)
        panel.grid(False)
        panel.spines[["top", "right"]].set_visible(True)
        panel.set_yticks(np.unique(np.linspace(1, ranks, min(ranks, 6)).round().astype(int)))
        whole_numbers(panel, most=5)
    figure.supxlabel("round", fontsize=10)
    worth = "total reward" if kinds == {"external"} else "true mean"
    figure.supylabel(f"rank by {worth} (1 = best)", fontsize=10)
    figure.colorbar(image, ax=panels, label="share of the choice", shrink=0.8, pad=0.02)
    save(figure, path)


def _drawable(sets: Mapping[str, Sequence[Trajectory]]) -> dict[str, list[Trajectory]]:
    """The scored trajectories of each set that has any. ``ValueError`` if none has."""
    found = {name: finished for name, trajectories in sets.items() if (finished := scored(trajectories))}
    if not found:
        raise ValueError("there is nothing to draw: no trajectory is scored")
    return found


def horizons(sets: Mapping[str, Sequence[Trajectory]]) -> tuple[int, int]:
    """The shortest and the longest horizon."""
    found = {trajectory.scenario.horizon for trajectories in sets.values() for trajectory in trajectories}
    return min(found), max(found)


def _regret_name(sets: Mapping[str, Sequence[Trajectory]]) -> str:
    kinds = {trajectory.oracle.kind for trajectories in sets.values() for trajectory in scored(trajectories)}
    return REGRET_NAMES[kinds.pop()] if len(kinds) == 1 else "regret"


def player_styles(names: Sequence[str]) -> dict[str, tuple[str, Any, float, float]]:
    """Color, dash, line width and band opacity of each player."""
    styles: dict[str, tuple[str, Any, float, float]] = {}
    algorithms = [name for name in names if name in PLAYERS and name != "uniform"]
    subjects = [name for name in names if name not in (*PLAYERS, OraclePlayer.name)]
    for name in names:
        if name in subjects:
            styles[name] = SUBJECT_COLORS[subjects.index(name) % len(SUBJECT_COLORS)], "-", 2.4, 0.18
        elif name in algorithms:
            styles[name] = *ALGORITHM_STYLES[algorithms.index(name) % len(ALGORITHM_STYLES)], 1.3, 0.1
        else:
            styles[name] = *(ORACLE_STYLE if name == OraclePlayer.name else UNIFORM_STYLE), 1.3, 0.1
    return styles


# ---- canvas ---------------------------------------------------------------------------------------------------------


def new_figure(height: float, panels: int = 1) -> tuple[Figure, Any]:
    """A figure with one or more axes side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5 if panels == 1 else 4.5 * panels, height), layout="constrained")
    axes = figure.subplots(1, panels)
    for panel in np.atleast_1d(axes):
        _plain(panel)
    return figure, axes


def _grid(n: int) -> tuple[Figure, list[Axes]]:
    """A figure with ``n`` equal panels, at most ``PANELS_A_ROW`` in a row."""
    from matplotlib.figure import Figure

    rows = math.ceil(n / PANELS_A_ROW)
    columns = math.ceil(n / rows)
    figure = Figure(figsize=(max(2.2 * columns, 3.2) + 0.8, 2.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for spare in grid[n:]:
        spare.remove()
    for panel in grid[:n]:
        _plain(panel)
        panel.tick_params(labelsize=8, labelbottom=True)
    return figure, list(grid[:n])


def _plain(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6)


def from_zero(axes: Axes) -> None:
    """Whole numbers along x; y from 0, or from below a negative lowest point, with room above the highest."""
    whole_numbers(axes)
    axes.set_ylim(min(0.0, 1.08 * axes.dataLim.y0), max(1.08 * axes.dataLim.y1, 0.1))


def whole_numbers(axes: Axes, most: int = 10) -> None:
    """Ticks along x at whole numbers, at most ``most``."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))


def _legend_by_height(axes: Axes) -> None:
    """A legend right of the axes, ordered by where the curves end, so that names and lines align."""
    lines = sorted(axes.get_lines(), key=lambda line: -float(np.asarray(line.get_ydata())[-1]))
    axes.legend(handles=lines, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
