"""Checks the recipe's ``env.options`` and draws from them. An error is one line with option, value and remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from env_plugins.contexts import CONTEXTS, SPLITS, Context

T = TypeVar("T")


def require(holds: bool, complaint: str) -> None:
    """``ValueError`` with ``complaint`` unless ``holds``."""
    if not holds:
        raise ValueError(f"env.options: {complaint}.")


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """A list from the recipe as a tuple; one value alone stands for a list of one."""
    alone = isinstance(value, str) or not isinstance(value, Iterable)
    values = (value,) if alone else tuple(value)
    require(len(values) > 0, f"{name} is empty: give at least one value")
    return values


def whole(name: str, values: Sequence[Any], low: int, high: int | None = None) -> None:
    """Require that every value is a whole number from ``low`` to ``high``."""
    limits = f"at least {low}" + (f", at most {high}" if high is not None else "")
    for value in values:
        fits = type(value) is int and value >= low and (high is None or value <= high)
        require(fits, f"{name} has {value!r}: use whole numbers of {limits}")


def number(name: str, value: Any) -> None:
    """Require that ``value`` is a finite number."""
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    require(finite, f"{name}={value!r}: use a finite number")


def one_of(complaint: str, value: Any, choices: Sequence[str]) -> None:
    """Require that ``value`` is among ``choices``; ``complaint`` begins the error message."""
    require(value in choices, f"{complaint}: use {', '.join(choices[:-1])} or {choices[-1]}")


def domains(value: Any) -> tuple[Context, ...]:
    """The verbal domains of a split, or those with the keys listed."""
    if isinstance(value, str):
        require(value in SPLITS, f"contexts={value!r}: use {', '.join(SPLITS)} or a list of context keys")
        return SPLITS[value]
    keys = listed("contexts", value)
    for key in keys:
        require(key in tuple(CONTEXTS), f"contexts has {key!r}: choose from {', '.join(CONTEXTS)}")
    return tuple(CONTEXTS[key] for key in keys)


def pick(values: Sequence[T], rng: np.random.Generator) -> T:
    """One of the values, uniformly."""
    return values[int(rng.integers(len(values)))]
