"""The answers, as text, among which structured decoding lets a model choose."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import comb
from typing import Any

from rmft_verl.types import Action, GameSpec

MOST = 1000
"""Most answers of a full-information game; its shares use the smallest step that stays within this."""

_STEPS = (100, 50, 20, 10, 5, 4, 2, 1)
"""Numbers of steps into which the whole may be divided."""


def every_answer(env: Any, spec: GameSpec) -> list[str]:
    """The text of ``env.say`` for every arm, or for every point of a grid on the simplex, without duplicates."""
    actions: list[Action] = list(grid(spec.n_actions)) if spec.full_information else list(range(spec.n_actions))
    return list(dict.fromkeys(str(env.say(action)) for action in actions))


def grid(n_actions: int, most: int = MOST) -> list[tuple[float, ...]]:
    """Evenly spaced points of the simplex: the finest grid with at most ``most`` points, else its corners."""
    bars = n_actions - 1
    steps = next(steps for steps in _STEPS if comb(steps + bars, bars) <= most or steps == 1)
    edges = ((-1, *chosen, steps + bars) for chosen in combinations(range(steps + bars), bars))  # stars and bars
    return [tuple((high - low - 1) / steps for low, high in pairwise(edge)) for edge in edges]
