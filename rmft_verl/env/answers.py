"""Every answer a game reads, said in words: what structured decoding lets a model choose from."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import comb
from typing import Any

from rmft_verl.types import Action, GameSpec

MOST = 1000
"""Answers of a full-information game: its shares are told in the smallest step that leaves no more than these."""

_STEPS = (100, 50, 20, 10, 5, 4, 2, 1)
"""In how many steps the whole is shared out."""


def every_answer(env: Any, spec: GameSpec) -> list[str]:
    """What ``env.say`` says of every arm, or of every point of a grid on the simplex; no line twice."""
    actions: list[Action] = list(grid(spec.n_actions)) if spec.full_information else list(range(spec.n_actions))
    return list(dict.fromkeys(str(env.say(action)) for action in actions))


def grid(n_actions: int) -> list[tuple[float, ...]]:
    """Points of the simplex, evenly spaced, as many as ``MOST`` allows or the corners; the entries of each sum to 1."""
    bars = n_actions - 1
    steps = next(steps for steps in _STEPS if comb(steps + bars, bars) <= MOST or steps == 1)
    edges = ((-1, *chosen, steps + bars) for chosen in combinations(range(steps + bars), bars))  # stars and bars
    return [tuple((high - low - 1) / steps for low, high in pairwise(edge)) for edge in edges]
