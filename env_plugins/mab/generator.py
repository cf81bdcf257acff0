"""The scenario sampler: which game, told in which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from env_plugins.contexts import CONTEXTS, SPLITS, Context
from rmft_verl.types import Scenario

LAWS = ("bernoulli", "gaussian")
_DECIMALS = 4  # means are told to nobody; rounding keeps the files readable


@dataclass(frozen=True)
class BanditGenerator:
    """Draws K, T, reward law, means and context independently and uniformly; raises ``ValueError`` for bad options.

    Means are uniform in [``mean_low``, ``mean_high``], drawn again until the best is ``min_gap`` above the second best.
    """

    arms: Sequence[int] = (3, 4, 5)
    """Numbers of arms K to choose from."""
    horizon: Sequence[int] = (20,)
    """Horizons T to choose from."""
    law: Sequence[str] = ("bernoulli",)
    """Reward laws to choose from, of ``LAWS``."""
    mean_low: float = 0.1
    mean_high: float = 0.9
    min_gap: float = 0.1
    noise: float = 0.5
    """Standard deviation of a Gaussian reward."""
    contexts: str | Sequence[str] = "train"
    """``train``, ``heldout`` or a list of context keys."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in ("arms", "horizon", "law"):
                object.__setattr__(self, field.name, _listed(field.name, getattr(self, field.name)))
        pool = min((len(context.names) for context in self._contexts()), default=0)
        for name, low, high in (("arms", 2, pool), ("horizon", 1, None)):
            for value in getattr(self, name):
                _require(
                    type(value) is int and value >= low and (high is None or value <= high),
                    f"{name} has {value!r}: use whole numbers of at least {low}"
                    + (f", at most {high}" if high else ""),
                )
        for law in self.law:
            _require(law in LAWS, f"law has {law!r}: use {' or '.join(LAWS)}")
        self._check_means()

    def _check_means(self) -> None:
        for name in ("mean_low", "mean_high", "min_gap", "noise"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
            _require(bool(number), f"{name}={value!r}: use a finite number")
        _require(self.mean_low < self.mean_high, f"mean_low={self.mean_low}: must be below mean_high={self.mean_high}")
        unit = "bernoulli" not in self.law or (self.mean_low >= 0 and self.mean_high <= 1)
        _require(unit, f"mean_low={self.mean_low}, mean_high={self.mean_high}: Bernoulli means lie within 0 and 1")
        _require(self.noise > 0, f"noise={self.noise}: use a standard deviation above 0")
        _require(self.min_gap >= 0, f"min_gap={self.min_gap}: use 0 or more")
        # P(gap >= g) = (1 - g / width)^K for K uniform means: below 1 in 1,000 the redraws would take forever.
        share = 1 - self.min_gap / (self.mean_high - self.mean_low)
        possible = share > 0 and share ** max(self.arms) >= 1e-3
        _require(possible, f"min_gap={self.min_gap}: too wide for {max(self.arms)} means within the range, lower it")

    def _contexts(self) -> tuple[Context, ...]:
        if isinstance(self.contexts, str):
            _require(
                self.contexts in SPLITS,
                f"contexts={self.contexts!r}: use {', '.join(SPLITS)} or a list of context keys",
            )
            return SPLITS[self.contexts]
        for key in _listed("contexts", self.contexts):
            _require(key in CONTEXTS, f"contexts has {key!r}: choose from {', '.join(CONTEXTS)}")
        return tuple(CONTEXTS[key] for key in self.contexts)

    def draw(self, rng: np.random.Generator) -> Scenario:
        """One scenario, a function of ``rng`` alone."""
        contexts = self._contexts()
        context = contexts[int(rng.integers(len(contexts)))]
        n_arms = self.arms[int(rng.integers(len(self.arms)))]
        horizon = self.horizon[int(rng.integers(len(self.horizon)))]
        law = self.law[int(rng.integers(len(self.law)))]
        means = self._means(n_arms, rng)
        names = tuple(context.names[i] for i in rng.permutation(len(context.names))[:n_arms])
        game: dict[str, Any] = {"law": law, "means": means}
        if law == "gaussian":
            game["noise"] = float(self.noise)
        return Scenario("mab", horizon, names, context.key, game)

    def _means(self, n_arms: int, rng: np.random.Generator) -> list[float]:
        while True:
            means = np.round(rng.uniform(self.mean_low, self.mean_high, n_arms), _DECIMALS)
            second, best = np.sort(means)[-2:]
            if best - second >= self.min_gap:
                return [float(mean) for mean in means]


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    """A list from the recipe as a tuple; one value alone stands for a list of one."""
    values = (value,) if isinstance(value, (int, float, str)) else tuple(value)
    _require(len(values) > 0, f"{name} is empty: give at least one value")
    return values


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(f"env.options: {complaint}.")
