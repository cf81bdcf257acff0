"""Checks of the recipe's ``env.options``: each failure is one line naming the option, its value and the remedy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def require(holds: bool, complaint: str) -> None:
    """``ValueError`` with ``complaint`` unless ``holds``."""
    if not holds:
        raise ValueError(f"env.options: {complaint}.")


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """A list from the recipe as a tuple; one value alone stands for a list of one."""
    values = (value,) if isinstance(value, (int, float, str)) else tuple(value)
    require(len(values) > 0, f"{name} is empty: give at least one value")
    return values


def whole(name: str, values: Sequence[Any], low: int) -> None:
    """Every value is a whole number of at least ``low``."""
    for value in values:
        require(type(value) is int and value >= low, f"{name} has {value!r}: use whole numbers of at least {low}")


def number(name: str, value: Any) -> None:
    """``value`` is a finite number."""
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    require(finite, f"{name}={value!r}: use a finite number")


def one_of(complaint: str, value: Any, choices: Sequence[str]) -> None:
    """``value`` is among ``choices``; ``complaint`` says where it stands."""
    require(value in choices, f"{complaint}: use {', '.join(choices[:-1])} or {choices[-1]}")
