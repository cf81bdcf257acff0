"""The reward laws: how rewards are drawn around their means, and how widely they vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

LAWS = ("bernoulli", "gaussian", "bounded", "heavy_tailed")
_FREEDOM = 3  # degrees of freedom of Student's t: the smallest whole number with a finite variance


def width(law: str, noise: float, spread: float) -> dict[str, float]:
    """What the hidden game says about the width of ``law``: nothing, ``noise`` or ``spread``."""
    if law == "bernoulli":
        return {}
    return {"spread": float(spread)} if law == "bounded" else {"noise": float(noise)}


def reward_scale(game: Mapping[str, Any]) -> float:
    """Standard deviation of a reward around its mean; for laws on [0, 1] the largest one, at a mean of 0.5."""
    if game["law"] == "bernoulli":
        return 0.5
    return float(game["spread"]) / 2 if game["law"] == "bounded" else float(game["noise"])


def draw_tape(game: Mapping[str, Any], means_T_A: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One reward for every round and arm, independent, in reward units; shape (T, A).

    ``bernoulli``: 0 or 1. ``gaussian``: normal with standard deviation ``noise``. ``heavy_tailed``: Student's t with 3
    degrees of freedom, scaled to standard deviation ``noise``. ``bounded``: Beta with variance spread^2 m (1 - m) at
    mean m, which is nearly constant for a small ``spread`` and nearly 0 or 1 for one near 1.
    """
    shape, law = means_T_A.shape, game["law"]
    if law == "bernoulli":
        return (rng.random(shape) < means_T_A).astype(float)
    if law == "bounded":
        size = 1 / game["spread"] ** 2 - 1
        rewards_T_A = rng.beta(size * means_T_A, size * (1 - means_T_A))
    elif law == "heavy_tailed":
        unit = np.sqrt((_FREEDOM - 2) / _FREEDOM)
        rewards_T_A = means_T_A + game["noise"] * unit * rng.standard_t(_FREEDOM, shape)
    else:
        rewards_T_A = means_T_A + game["noise"] * rng.standard_normal(shape)
    # Rounded as it is reported, so that words and numbers carry the same information.
    return np.asarray(np.round(rewards_T_A, 2))
