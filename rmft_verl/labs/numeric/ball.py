"""The games of the FTRL theorem: linear losses, decisions in the unit ball. torch is imported only to draw them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rmft_verl.config import Config, ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class BallGames:
    """Sequences of independent losses N(0, deviation^2 I): ``env.options`` of ``env.name=ball``."""

    dimension: int = 2
    horizon: int = 10
    deviation: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("dimension", 1), ("horizon", 2)):
            value = vars(self)[name]
            if type(value) is not int or value < least:
                raise ConfigError(f"env.options: {name}={value!r}: use a whole number of at least {least}")
        if not (isinstance(self.deviation, (int, float)) and self.deviation > 0):
            raise ConfigError(f"env.options: deviation={self.deviation!r}: use a number above 0")

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Losses, shape (n, T, D)."""
        import torch

        return self.deviation * torch.randn(n, self.horizon, self.dimension, generator=rng)

    @property
    def rate(self) -> float:
        """The rate of FTRL that the theorem names (``l2_rate``)."""
        return l2_rate(self.horizon, self.dimension, self.deviation)


def l2_rate(horizon: int, dimension: int, deviation: float, radius: float = 1.0) -> float:
    """The rate R m / (d sigma sqrt(T)) of FTRL with the squared Euclidean norm on the ball (docs/theory.md).

    Among decisions that are linear in the past losses, -rate x (their sum) before projection has the least mean squared
    regret on Gaussian losses N(0, sigma^2 I). m = sqrt(2) Gamma((d + 1) / 2) / Gamma(d / 2) is the mean length of a
    standard Gaussian vector.
    """
    mean_length = math.sqrt(2) * math.exp(math.lgamma((dimension + 1) / 2) - math.lgamma(dimension / 2))
    return radius * mean_length / (dimension * deviation * math.sqrt(horizon))


def make_games(config: Config) -> BallGames:
    """The games of ``env.options``; ``ConfigError`` for an unknown option."""
    try:
        return BallGames(**config.env.options)
    except TypeError as error:
        raise ConfigError(f"env.options of 'ball': {error}; it has dimension, horizon and deviation") from error
