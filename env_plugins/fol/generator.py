"""Draws scenarios: the sequence, and the words that tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from env_plugins.contexts import NAME_SPLITS, action_names
from env_plugins.fol.games import NAMES, draw_game
from env_plugins.fol.sequences import Dials
from env_plugins.options import domains, listed, number, pick, require, whole
from rmft_verl.types import Scenario

FRAMINGS = ("neutral", "suggestive")
ANSWERS = ("free", "action_only")
CHOICES = ("shares", "option")
MOST_ACTIONS = 100
"""A policy over more would not fit a reply."""


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
    """Pool of action names, ``train`` or ``heldout``."""
    framing: str = "neutral"
    """``suggestive`` adds the domain's hint that neglected actions may be better."""
    answer: str = "free"
    """``free`` (with reasoning) or ``action_only`` (the answer line alone)."""
    choice: str = "shares"
    """``shares``: a reply splits the round over the actions; ``option``: it names one of them."""

    def __post_init__(self) -> None:
        for name in ("actions", "horizon", "sequence"):
            object.__setattr__(self, name, listed(name, getattr(self, name)))
        whole("actions", self.actions, 2, MOST_ACTIONS)
        whole("horizon", self.horizon, 1)
        for sequence in self.sequence:
            require(sequence in NAMES, f"sequence has {sequence!r}: choose from {', '.join(NAMES)}")
        for name, choices in (("names", NAME_SPLITS), ("framing", FRAMINGS), ("answer", ANSWERS), ("choice", CHOICES)):
            value = getattr(self, name)
            require(value in choices, f"{name}={value!r}: use {' or '.join(choices)}")
        for name in ("noise", "gap"):
            number(name, getattr(self, name))
        require(0 <= self.noise <= 1, f"noise={self.noise!r}: use a standard deviation from 0 to 1")
        require(0 <= self.gap < 1, f"gap={self.gap!r}: use a number from 0 to less than 1")
        domains(self.contexts)

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw one scenario, from ``rng`` alone."""
        context = pick(domains(self.contexts), rng)
        n_actions, horizon, sequence = pick(self.actions, rng), pick(self.horizon, rng), pick(self.sequence, rng)
        game = draw_game(sequence, rng, horizon, n_actions, Dials(self.noise, self.gap))
        names = action_names(context, n_actions, rng, self.names)
        telling = {"framing": self.framing} if self.framing != "neutral" else {}
        telling |= {"answer": self.answer} if self.answer != "free" else {}
        telling |= {"choice": self.choice} if self.choice != "shares" else {}
        return Scenario("fol", horizon, names, context.key, game, telling)
