"""Growth of regret by family of games: a table over seeds, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rmft_verl.env.regret import regret_curve
from rmft_verl.eval.metrics import Interval, two_level
from rmft_verl.eval.metrics.growth import log_slope
from rmft_verl.eval.metrics.intervals import ratio
from rmft_verl.store.run_dir import write_text
from rmft_verl.types import Scenario, Trajectory

Family = tuple[str, int]
"""The kind of game and its horizon."""

Sets = Mapping[str, Sequence[Sequence[Trajectory]]]
"""Player -> its trajectories on the same scenarios, one sequence per seed."""


NOTE = """95 % intervals over seeds and scenarios; * = the slope's interval lies below 1. Second half: the share of the
regret that comes in the second half of the rounds, 0.5 if it grows linearly."""


@dataclass(frozen=True)
class GrowthRow:
    """One player on one family. Intervals are over seeds and scenarios (``metrics.two_level``)."""

    family: str
    horizon: int
    player: str
    regret: Interval
    """Mean regret after the last round, in reward units."""
    slope: Interval
    """Slope of the log of the mean regret over log t."""
    late: Interval
    """Share of the mean regret from the second half of the rounds: 0.5 if it is linear; NaN if it is not above 0."""

    @property
    def slope_below_one(self) -> bool:
        """Whether the slope's interval lies below 1: a player that improves once and then stays passes too."""
        return self.slope.high < 1


def family_of(scenario: Scenario) -> Family:
    """The sequence, drift or reward law of a game, with its horizon."""
    game = scenario.game
    name = next(game[key] for key in ("sequence", "drift", "law") if key in game)
    return str(name), scenario.horizon


def curves(sets: Sequence[Sequence[Trajectory]]) -> dict[Family, np.ndarray]:
    """Family -> cumulative regret of every seed and scenario, shape (K, S, T)."""
    found: dict[Family, list[list[np.ndarray]]] = {}
    for seed, plays in enumerate(sets):
        for play in plays:
            rows = found.setdefault(family_of(play.scenario), [[] for _ in sets])
            rows[seed].append(regret_curve(play.oracle, play.actions_T))
    return {family: np.array(rows) for family, rows in sorted(found.items())}


def growth_rows(sets: Sets) -> list[GrowthRow]:
    """One row per family and player, grouped by family."""
    by_player = {player: curves(plays) for player, plays in sets.items()}
    families = next(iter(by_player.values()))
    return [
        GrowthRow(
            *family,
            player,
            regret=two_level([found[family][..., -1:]], lambda means: means[..., 0]),
            slope=two_level([found[family]], log_slope),
            late=two_level([found[family]], _late_share),
        )
        for family in families
        for player, found in by_player.items()
    ]


def _late_share(means: np.ndarray) -> np.ndarray:
    horizon = means.shape[-1]
    return ratio(means[..., -1] - means[..., horizon // 2 - 1], means[..., -1])


def text(rows: Sequence[GrowthRow]) -> str:
    """The table as Markdown."""
    lines = ["| games | T | player | regret at T | slope of log regret over log t | second half |", "|" + "---|" * 6]
    for row in rows:
        star = " *" if row.slope_below_one else ""
        cells = (row.family, row.horizon, row.player, _form(row.regret), f"{_form(row.slope)}{star}", _form(row.late))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", NOTE, ""])


def write_growth(directory: Path, sets: Sets) -> list[GrowthRow]:
    """Write growth.md, growth.json and growth.png to ``directory``; returns the rows."""
    from rmft_verl.labs.numeric.figures import draw_growth

    rows = growth_rows(sets)
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "growth.md", text(rows))
    write_text(directory / "growth.json", json.dumps([_plain(row) for row in rows], indent=1) + "\n")
    draw_growth({player: curves(plays) for player, plays in sets.items()}, directory / "growth.png")
    return rows


def _plain(row: GrowthRow) -> dict[str, object]:
    plain = asdict(row)
    return plain | {name: [None if np.isnan(x) else x for x in plain[name]] for name in ("regret", "slope", "late")}


def _form(interval: Interval) -> str:
    if np.isnan(interval.value):
        return "–"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
