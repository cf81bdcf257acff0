"""One table of scored trajectories: a row per player, for people and for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl.eval import metrics
from rmft_verl.eval.metrics import NO_INTERVAL, UNKNOWN, Interval, few_scenarios, value_or
from rmft_verl.eval.text import DASH, as_text, interval, number, plain_table
from rmft_verl.types import Trajectory

if TYPE_CHECKING:
    from rich.table import Table

SHORTEST_GROWTH = 10
"""Scenarios with fewer rounds have no growth slope."""

CAPTION = (
    "normalized regret: 0 = oracle, 1 = uniform play; 95 % bootstrap interval over scenarios\n"
    "Growth: slope of log regret over log t; * = sublinear by all four signs of docs/metrics.md"
)


@dataclass(frozen=True, kw_only=True)
class EvalRow:
    """One player's line. Units and ranges are those of ``metrics``; NaN where a number does not exist."""

    target: str = ""
    """The target, in a table of several targets."""
    player: str
    regret: float = UNKNOWN
    normalized_regret: Interval = NO_INTERVAL
    median_reward: float = UNKNOWN
    suffix_failure: float = UNKNOWN
    min_fraction: float = UNKNOWN
    """K x MinFrac."""
    greedy_fraction: float = UNKNOWN
    coverage: float = UNKNOWN
    best_arm: float = UNKNOWN
    """``metrics.best_arm_frequency``."""
    growth_slope: float = UNKNOWN
    """Slope of log regret over log t, if all have one horizon of at least ``SHORTEST_GROWTH`` rounds."""
    sublinear: bool | None = None
    """``metrics.Growth.sublinear``; None where there is no slope."""
    invalid_rate: float = UNKNOWN
    n_scenarios: int = 0
    n_episodes: int
    n_failed: int
    """Episodes whose environment or player raised; they count in no other column except ``n_episodes``."""

    def to_json(self) -> dict[str, Any]:
        """Flat JSON: interval bounds as ``_low`` and ``_high``, None where a number does not exist."""
        row: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = vars(self)[field.name]
            if isinstance(value, Interval):
                row |= {field.name: value.value, f"{field.name}_low": value.low, f"{field.name}_high": value.high}
            elif field.name != "target" or value:
                row[field.name] = value
        return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}


@dataclass(frozen=True)
class EvalTable:
    """Rows for people (``rich.print(table)``, ``text()``) and for programs (``to_json``, ``csv``)."""

    rows: tuple[EvalRow, ...]
    remark: str = ""
    """A line below the table, for people."""

    def to_json(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]

    def csv(self) -> str:
        """The rows of ``to_json`` below a header; a number that does not exist is an empty cell."""
        rows, out = self.to_json(), io.StringIO()
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def text(self) -> str:
        """The table as plain text."""
        return as_text(self, *filter(None, [self.remark]))

    def __rich__(self) -> Table:
        targets = [row.target for row in self.rows]
        names = ["target", "player"] if any(targets) else ["player"]
        caption = "\n".join(filter(None, [CAPTION, few_scenarios(interval_sizes(self.rows))]))
        table = plain_table([*names, *_CELLS], caption=caption, caption_justify="left")
        for column in table.columns[: len(names)]:
            column.justify = "left"
        for i, row in enumerate(self.rows):
            if i and row.target != targets[i - 1]:
                table.add_section()
            table.add_row(*([row.target] if any(targets) else []), row.player, *(cell(row) for cell in _CELLS.values()))
        return table  # type: ignore[no-any-return]


def interval_sizes(rows: Sequence[EvalRow]) -> list[int]:
    """The number of scenarios of each row that shows an interval."""
    return [row.n_scenarios for row in rows if not np.isnan(row.normalized_regret.low)]


def _number(name: str, form: str) -> Callable[[EvalRow], str]:
    return lambda row: number(vars(row)[name], form)


def _growth(row: EvalRow) -> str:
    if np.isnan(row.growth_slope):
        return f"{DASH} "
    return f"{round(row.growth_slope, 2) + 0.0:.2f}" + ("*" if row.sublinear else " ")


def _episodes(row: EvalRow) -> str:
    if not row.n_scenarios:
        return f"{row.n_failed} failed"
    each = row.n_episodes / row.n_scenarios
    return f"{row.n_scenarios}×{each:g}" + (f" ({row.n_failed} failed)" if row.n_failed else "")


_CELLS: dict[str, Callable[[EvalRow], str]] = {
    "regret": _number("regret", ".2f"),
    "normalized [95 %]": lambda row: interval(*row.normalized_regret),
    "MedianReward": _number("median_reward", ".2f"),
    "SuffFail": _number("suffix_failure", ".2f"),
    "K×MinFrac": _number("min_fraction", ".2f"),
    "GreedyFrac": _number("greedy_fraction", ".2f"),
    "Coverage": _number("coverage", ".2f"),
    "BestArm": _number("best_arm", ".2f"),
    "Growth": _growth,
    "invalid": _number("invalid_rate", ".1%"),
    "episodes": _episodes,
}


def summarize(sets: Mapping[str, Sequence[Trajectory]], seed: int = 0, target: str = "") -> EvalTable:
    """One row per named set of trajectories; a set without scored ones has a row without numbers."""
    return EvalTable(tuple(_row(name, target, trajectories, seed) for name, trajectories in sets.items()))


def _row(name: str, target: str, trajectories: Sequence[Trajectory], seed: int) -> EvalRow:
    finished = metrics.scored(trajectories)
    n_episodes, n_failed = len(trajectories), len(trajectories) - len(finished)
    if not finished:
        return EvalRow(target=target, player=name, n_episodes=n_episodes, n_failed=n_failed)
    slope, sublinear = _growth_of(finished, seed)
    return EvalRow(
        target=target,
        player=name,
        regret=metrics.mean_regret(finished),
        normalized_regret=value_or(NO_INTERVAL, partial(metrics.normalized_regret_interval, seed=seed), finished),
        median_reward=metrics.median_reward(finished),
        suffix_failure=metrics.suffix_failure_frequency(finished),
        min_fraction=metrics.scaled_min_fraction(finished),
        greedy_fraction=metrics.greedy_fraction(finished),
        coverage=metrics.action_coverage(finished),
        best_arm=metrics.best_arm_frequency(finished),
        growth_slope=slope,
        sublinear=sublinear,
        invalid_rate=metrics.invalid_rate(finished),
        n_scenarios=len({trajectory.scenario.id for trajectory in finished}),
        n_episodes=n_episodes,
        n_failed=n_failed,
    )


def _growth_of(finished: Sequence[Trajectory], seed: int) -> tuple[float, bool | None]:
    horizons = {trajectory.scenario.horizon for trajectory in finished}
    if len(horizons) > 1 or min(horizons) < SHORTEST_GROWTH:
        return UNKNOWN, None
    growth = metrics.growth(finished, seed)
    return growth.regression.slope, growth.sublinear
