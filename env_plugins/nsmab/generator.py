"""Draws scenarios of drifting bandits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from env_plugins.mab.generator import DECIMALS, ROUNDING, BanditGenerator
from env_plugins.mab.laws import width
from env_plugins.nsmab.drift import abrupt, gradual, seasonal, variation, within_budget
from env_plugins.options import number, one_of, pick, require, whole
from rmft_verl.types import Scenario

DRIFTS = ("abrupt", "gradual", "seasonal", "stationary")


@dataclass(frozen=True)
class DriftGenerator(BanditGenerator):
    """Draws drifting bandits with the options of ``BanditGenerator`` and those below; the means of every round are in
    ``game["means"]``, shape (T, K), and their variation V_T is in ``game["variation"]``.

    ``min_gap`` holds for every phase of an abrupt drift and for the start of a gradual one, before a ``budget`` shrinks
    the drift. Seasonal means fill the range and ignore ``means`` and ``min_gap``.
    """

    horizon: Sequence[int] = (30,)
    drift: Sequence[str] = ("abrupt", "gradual", "seasonal")
    """Kinds of drift to choose from, of ``DRIFTS``."""
    changes: Sequence[int] = (1, 2, 3)
    """Abrupt: numbers of change points to choose from; all means are drawn anew at each."""
    step: float = 0.1
    """Gradual: the most that a mean moves from one round to the next."""
    period: Sequence[int] = (20,)
    """Seasonal: periods in rounds to choose from."""
    budget: float | None = None
    """Largest V_T allowed. A game that drifts more is shrunk: every mean is pulled towards its own average over the
    rounds by one common factor, until V_T meets the budget. None = no limit."""

    ENV: ClassVar[str] = "nsmab"
    LISTS: ClassVar[tuple[str, ...]] = (*BanditGenerator.LISTS, "drift", "changes", "period")

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in self.drift:
            one_of(f"drift has {kind!r}", kind, DRIFTS)
        require(self.means != "normal", "means='normal': a drift needs a range, use uniform or one_best")
        shortest, reach = min(self.horizon), self.mean_high - self.mean_low
        whole("changes", self.changes, 0)
        fits = "abrupt" not in self.drift or max(self.changes) < shortest
        require(fits, f"changes has {max(self.changes)}: at most {shortest - 1} fit into {shortest} rounds")
        whole("period", self.period, 2)
        number("step", self.step)
        require(
            0 < self.step <= reach + ROUNDING,
            f"step={self.step}: use a value above 0, at most the range of means {reach:g}",
        )
        if self.budget is not None:
            number("budget", self.budget)
            most = (max(self.horizon) - 1) * reach
            require(
                0 <= self.budget <= most + ROUNDING,
                f"budget={self.budget}: means in this range vary between 0 and {most:g}",
            )

    def prior(self, scenario: Scenario) -> dict[str, Any]:
        """As ``BanditGenerator.prior``, with the law of the drift; a ``budget`` leaves ``draw_means`` to say it."""
        kinds = () if self.budget is not None else tuple(self.drift)
        law = {"changes": tuple(self.changes), "step": float(self.step), "periods": tuple(self.period)}
        return super().prior(scenario) | {"drifts": True} | ({"kinds": kinds} | law if kinds else {})

    def draw_means(self, scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
        """Draw the means of another game about which players are told the same as about ``scenario``, shape (T, A)."""
        return np.array(self._game(len(scenario.actions), scenario.horizon, scenario.game["law"], rng)["means"])

    def _game(self, n_arms: int, horizon: int, law: str, rng: np.random.Generator) -> dict[str, Any]:
        kind = pick(self.drift, rng)
        means_T_A, told = self._path(kind, n_arms, horizon, rng)
        means_T_A = within_budget(means_T_A, np.inf if self.budget is None else self.budget, DECIMALS)
        drift = {"drift": kind, **told, "variation": round(variation(means_T_A), DECIMALS)}
        return {"law": law, "means": means_T_A.tolist()} | width(law, self.noise, self.spread) | drift

    def _path(
        self, kind: str, n_arms: int, horizon: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, int]]:
        """The means of every round, shape (T, A), and the drift's other parameters."""
        if kind == "abrupt":
            changes = pick(self.changes, rng)
            return abrupt(lambda: self._means(n_arms, rng), changes, horizon, rng), {"changes": changes}
        if kind == "seasonal":
            period = pick(self.period, rng)
            return seasonal(n_arms, period, self.mean_low, self.mean_high, horizon, rng), {"period": period}
        start_A = self._means(n_arms, rng)
        if kind == "gradual":
            return gradual(start_A, self.step, self.mean_low, self.mean_high, horizon, rng), {}
        return np.tile(start_A, (horizon, 1)), {}
