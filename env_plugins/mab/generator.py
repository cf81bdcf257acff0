"""Draws scenarios: the game, and the words that tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

from env_plugins.contexts import NAME_SPLITS, action_names
from env_plugins.mab.laws import LAWS, width
from env_plugins.mab.words import ANSWERS
from env_plugins.options import domains, listed, number, one_of, pick, require, whole
from rmft_verl.types import Scenario

MEANS = ("uniform", "one_best", "normal")
FRAMINGS = ("neutral", "suggestive")
ROUNDING = 1e-9  # 0.6 - 0.4 is less than 0.2 in floats
DECIMALS = 4  # no player is told the means; rounding keeps the files readable
_INNER = (0.01, 0.99)  # where the mean of a Beta law may lie


@dataclass(frozen=True)
class BanditGenerator:
    """Draws K, T, reward law, means and context independently and uniformly; raises ``ValueError`` for bad options."""

    arms: Sequence[int] = (3, 4, 5)
    """Numbers of arms K to choose from."""
    horizon: Sequence[int] = (20,)
    """Horizons T to choose from."""
    law: Sequence[str] = ("bernoulli",)
    """Reward laws to choose from, of ``LAWS``."""
    means: str = "uniform"
    """``uniform`` in [``mean_low``, ``mean_high``], or ``normal`` with that range as one standard deviation around its
    middle; both are drawn again until the best is at least ``min_gap`` above the second best. ``one_best``: all arms
    are equal but one, which is exactly ``min_gap`` better; the two values lie around the middle of the range."""
    mean_low: float = 0.1
    mean_high: float = 0.9
    min_gap: float = 0.1
    noise: float = 0.5
    """Standard deviation of a Gaussian or heavy-tailed reward."""
    spread: float = 0.5
    """Width of a bounded reward, between 0 and 1: twice its standard deviation at a mean of 0.5."""
    contexts: str | Sequence[str] = "train"
    """The name of a split or a list of context keys."""
    names: str = "train"
    """Pool of arm names, ``train`` or ``heldout``."""
    framing: str = "neutral"
    """``suggestive`` adds the domain's hint that untried arms may be better."""
    answer: str = "free"
    """``free`` (with reasoning) or ``action_only`` (the answer line alone)."""

    ENV: ClassVar[str] = "mab"
    LISTS: ClassVar[tuple[str, ...]] = ("arms", "horizon", "law")

    def __post_init__(self) -> None:
        for name in self.LISTS:
            object.__setattr__(self, name, listed(name, getattr(self, name)))
        domains(self.contexts)
        whole("arms", self.arms, 2)
        whole("horizon", self.horizon, 1)
        for law in self.law:
            one_of(f"law has {law!r}", law, LAWS)
        for name, choices in (
            ("means", MEANS),
            ("names", NAME_SPLITS),
            ("framing", FRAMINGS),
            ("answer", tuple(ANSWERS)),
        ):
            one_of(f"{name}={getattr(self, name)!r}", getattr(self, name), choices)
        self._check_means()

    def _check_means(self) -> None:
        for name in ("mean_low", "mean_high", "min_gap", "noise", "spread"):
            number(name, getattr(self, name))
        low, high = self.mean_low, self.mean_high
        require(low < high, f"mean_low={low}: must be below mean_high={high}")
        for law, (least, most) in {"bernoulli": (0, 1), "bounded": _INNER}.items():
            within = law not in self.law or (low >= least and high <= most)
            require(within, f"mean_low={low}, mean_high={high}: {law.capitalize()} means lie within {least} and {most}")
            endless = law in self.law and self.means == "normal"
            require(not endless, f"law has {law!r}: means=normal needs laws without bounds, gaussian or heavy_tailed")
        require(self.noise > 0, f"noise={self.noise}: use a standard deviation above 0")
        require(0 < self.spread < 1, f"spread={self.spread}: use a value between 0 and 1")
        require(self.min_gap >= 0, f"min_gap={self.min_gap}: use 0 or more")
        require(self.means != "one_best" or self.min_gap > 0, "min_gap=0: means=one_best needs a gap above 0")
        # Below 1 in 1,000 the redraws would take too long.
        possible = self._chance_of_gap(max(self.arms)) >= 1e-3
        require(possible, f"min_gap={self.min_gap}: too wide for {max(self.arms)} means within the range, lower it")

    def _chance_of_gap(self, n_arms: int) -> float:
        """Probability that the best mean is ``min_gap`` above the rest: K E[F(X - gap)^(K-1)] for a law F of means."""
        if self.means == "normal":
            law = self._normal()
            below = [law.cdf(law.inv_cdf((i + 0.5) / 1000) - self.min_gap) for i in range(1000)]
            return n_arms * sum(share ** (n_arms - 1) for share in below) / 1000
        share = 1 - self.min_gap / (self.mean_high - self.mean_low)
        return float(share >= -ROUNDING) if self.means == "one_best" else max(share, 0.0) ** n_arms

    def _normal(self) -> NormalDist:
        return NormalDist((self.mean_low + self.mean_high) / 2, (self.mean_high - self.mean_low) / 2)

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw one scenario, from ``rng`` alone."""
        context = pick(domains(self.contexts), rng)
        n_arms, horizon, law = pick(self.arms, rng), pick(self.horizon, rng), pick(self.law, rng)
        game = self._game(n_arms, horizon, law, rng)
        names = action_names(context, n_arms, rng, self.names)
        telling = {"framing": self.framing} if self.framing != "neutral" else {}
        telling |= {"answer": self.answer} if self.answer != "free" else {}
        return Scenario(self.ENV, horizon, names, context.key, game, telling)

    def prior(self, scenario: Scenario) -> dict[str, Any]:
        """What a player of ``scenario`` may know about its means beforehand: arguments of ``posterior.Prior``.

        ``ValueError`` for means or rewards that the posterior does not support.
        """
        law = scenario.game["law"]
        require(self.means == "uniform", f"means={self.means!r}: posterior regret needs means=uniform")
        require(law in ("bernoulli", "gaussian"), f"law={law!r}: posterior regret needs bernoulli or gaussian rewards")
        noise = {"noise": float(self.noise)} if law == "gaussian" else {}
        bounds = {"low": float(self.mean_low), "high": float(self.mean_high), "min_gap": float(self.min_gap)}
        return {"law": law, **bounds, **noise}

    def _game(self, n_arms: int, horizon: int, law: str, rng: np.random.Generator) -> dict[str, Any]:
        """The hidden parameters; only games that drift use ``horizon``."""
        return {"law": law, "means": self._means(n_arms, rng).tolist()} | width(law, self.noise, self.spread)

    def _means(self, n_arms: int, rng: np.random.Generator) -> np.ndarray:
        """The arms' means, shape (A,), rounded to ``DECIMALS``."""
        normal = self._normal()
        if self.means == "one_best":
            means_A = np.full(n_arms, normal.mean - self.min_gap / 2)
            means_A[rng.integers(n_arms)] += self.min_gap
            return np.round(means_A, DECIMALS)
        while True:
            if self.means == "normal":
                draws_A = rng.normal(normal.mean, normal.stdev, n_arms)
            else:
                draws_A = rng.uniform(self.mean_low, self.mean_high, n_arms)
            means_A = np.round(draws_A, DECIMALS)
            second, best = np.sort(means_A)[-2:]
            if best - second >= self.min_gap:
                return means_A
