"""Answers as text: those among which structured decoding lets a model choose, and where a reply says its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, pairwise
from math import comb
from typing import Any

from rmft_verl.env.thoughts import thinks
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


def answer_span(text: str, parse: Callable[[str], Action | None]) -> tuple[int, int]:
    """(start, end) of the characters of ``text`` that say the action that ``parse`` reads in it.

    They are the fewest words around the place: the last line, outside a thought, from which on ``parse`` still reads
    the action; of it and the lines below no word after the one that completes the action, and none before that it does
    not need. Where ``parse`` reads none: the last line with a letter or digit.
    """
    action = parse(text)
    if action is None:
        return _last_line(text)

    def says(start: int, end: int) -> bool:
        return parse(text[start:end]) == action

    lines = [0, *(found.end() for found in re.finditer("\n", text))]
    start = next(n for n in reversed(lines) if n == 0 or (not thinks(text[:n]) and says(n, len(text))))
    words = [found.span() for found in re.compile(r"\S+").finditer(text, start)]
    end = next((stop for _, stop in words if says(start, stop)), len(text))
    return next((first for first, _ in reversed(words) if first < end and says(first, end)), start), end


def _last_line(text: str) -> tuple[int, int]:
    """The last line with a letter or digit, else the last that is not blank."""
    words = text.rstrip()
    last = next((n for n in range(len(words) - 1, -1, -1) if words[n].isalnum()), len(words))
    end = last + len(words[last:].partition("\n")[0].rstrip())
    return words.rfind("\n", 0, end) + 1, end
