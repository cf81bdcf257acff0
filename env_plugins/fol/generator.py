"""The scenario sampler: which sequence, told in which words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from env_plugins.contexts import CONTEXTS, NAME_SPLITS, SPLITS, Context, action_names
from env_plugins.fol.games import NAMES, draw_game
from env_plugins.fol.sequences import Dials
from rmft_verl.types import Scenario

FRAMINGS = ("neutral", "suggestive")
ANSWERS = ("free", "action_only")
MOST_ACTIONS = 100
"""A policy over more would not fit a reply."""

T = TypeVar("T")


@dataclass(frozen=True)
class FullInformationGenerator:
    """Draws the context, K, T and the sequence independently and uniformly; ``ValueError`` for bad options."""

    actions: Sequence[int] = (2, 3, 4)
    """Numbers of actions K to choose from."""
    horizon: Sequence[int] = (25,)
    """Horizons T to choose from."""
    sequence: Sequence[str] = ("uniform_gap", "gaussian_gap", "linear", "sine", "switch")
    """Reward sequences to choose from, of ``games.NAMES``."""
    noise: float = 0.1
    """Standard deviation of the noise, in reward units, where the sequence has some (``sequences.Dials``)."""
    gap: float = 0.2
    """How far the best mean is above the others, in reward units, where the sequence has a best action."""
    contexts: str | Sequence[str] = "train"
    """The name of a split or a list of context keys."""
    names: str = "train"
    """Which pool the actions are named from, ``train`` or ``heldout``."""
    framing: str = "neutral"
    """``suggestive`` adds the domain's hint that neglected actions may be better."""
    answer: str = "free"
    """``action_only`` asks for the last line alone."""

    def __post_init__(self) -> None:
        for name in ("actions", "horizon", "sequence"):
            object.__setattr__(self, name, _listed(name, getattr(self, name)))
        _whole("actions", self.actions, 2, MOST_ACTIONS)
        _whole("horizon", self.horizon, 1)
        for sequence in self.sequence:
            _require(sequence in NAMES, f"sequence has {sequence!r}: choose from {', '.join(NAMES)}")
        for name, choices in (("names", NAME_SPLITS), ("framing", FRAMINGS), ("answer", ANSWERS)):
            value = getattr(self, name)
            _require(value in choices, f"{name}={value!r}: use {' or '.join(choices)}")
        noisy = _number(self.noise) and 0 <= self.noise <= 1
        _require(noisy, f"noise={self.noise!r}: use a standard deviation from 0 to 1")
        _require(_number(self.gap) and 0 <= self.gap < 1, f"gap={self.gap!r}: use a number from 0 to less than 1")
        self._contexts()

    def _contexts(self) -> tuple[Context, ...]:
        if isinstance(self.contexts, str):
            known = f"contexts={self.contexts!r}: use {', '.join(SPLITS)} or a list of context keys"
            _require(self.contexts in SPLITS, known)
            return SPLITS[self.contexts]
        keys = _listed("contexts", self.contexts)
        for key in keys:
            _require(key in tuple(CONTEXTS), f"contexts has {key!r}: choose from {', '.join(CONTEXTS)}")
        return tuple(CONTEXTS[key] for key in keys)

    def draw(self, rng: np.random.Generator) -> Scenario:
        """One scenario, a function of ``rng`` alone."""
        context = _pick(self._contexts(), rng)
        n_actions, horizon, sequence = _pick(self.actions, rng), _pick(self.horizon, rng), _pick(self.sequence, rng)
        game = draw_game(sequence, rng, horizon, n_actions, Dials(self.noise, self.gap))
        names = action_names(context, n_actions, rng, self.names)
        telling = {"framing": self.framing} if self.framing != "neutral" else {}
        telling |= {"answer": self.answer} if self.answer != "free" else {}
        return Scenario("fol", horizon, names, context.key, game, telling)


def _pick(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    """A list from the recipe as a tuple; one value alone stands for a list of one."""
    alone = isinstance(value, str) or not isinstance(value, Iterable)
    values = (value,) if alone else tuple(value)
    _require(len(values) > 0, f"{name} is empty: give at least one value")
    return values


def _whole(name: str, values: Sequence[Any], low: int, high: int | None = None) -> None:
    limits = f"at least {low}" + (f", at most {high}" if high is not None else "")
    for value in values:
        fits = type(value) is int and value >= low and (high is None or value <= high)
        _require(fits, f"{name} has {value!r}: use whole numbers of {limits}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(f"env.options: {complaint}.")
