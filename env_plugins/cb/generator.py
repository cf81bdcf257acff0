"""Draws scenarios of contextual bandits: the contexts, the arms' weights, and the words that tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from env_plugins.cb import ratings
from env_plugins.contexts import NAME_SPLITS, action_names
from env_plugins.mab.generator import DECIMALS, FRAMINGS
from env_plugins.mab.words import ANSWERS
from env_plugins.options import domains, listed, number, one_of, pick, require, whole
from rmft_verl.types import Scenario

KINDS = ("linear", "user_item")
CONTEXT_DECIMALS = 2  # as they are told: words and numbers carry the same information


@dataclass(frozen=True)
class ContextGenerator:
    """Draws K, T, kind, number of features and domain independently and uniformly; ``ValueError`` for bad options.

    The mean of an arm is <its weights, the round's context>. ``game`` holds ``contexts``, shape (T, F), and
    ``weights``, shape (K, F): all plays of a scenario meet the same contexts.
    """

    arms: Sequence[int] = (3, 4, 5)
    """Numbers of arms K to choose from."""
    horizon: Sequence[int] = (20,)
    """Horizons T to choose from."""
    kind: Sequence[str] = ("linear",)
    """Kinds to choose from. ``linear``: contexts uniform on the unit sphere, all weights independently N(0, 1).
    ``user_item``: every round is a user and every arm an item of a table of ratings, told by the table's factors."""
    features: Sequence[int] = (2, 3)
    """Numbers of features F to choose from; of ``user_item`` the rank of the factors."""
    noise: float = 0.5
    """Standard deviation of a reward."""
    catalogue: int = 40
    """``user_item``: the arms are drawn among this many items, those rated most."""
    ratings: str = ""
    """``user_item``: a file of ratings that you have, such as MovieLens' ratings.dat; empty = a synthetic table."""
    contexts: str | Sequence[str] = "train"
    """The name of a split or a list of context keys (verbal domains)."""
    names: str = "train"
    """Pool of arm names, ``train`` or ``heldout``."""
    framing: str = "neutral"
    """``suggestive`` adds the domain's hint that untried arms may be better."""
    answer: str = "free"
    """``free`` (with reasoning) or ``action_only`` (the answer line alone)."""

    ENV: ClassVar[str] = "cb"
    LISTS: ClassVar[tuple[str, ...]] = ("arms", "horizon", "kind", "features")

    def __post_init__(self) -> None:
        for name in self.LISTS:
            object.__setattr__(self, name, listed(name, getattr(self, name)))
        domains(self.contexts)
        whole("arms", self.arms, 2)
        whole("horizon", self.horizon, 1)
        whole("features", self.features, 1)
        for kind in self.kind:
            one_of(f"kind has {kind!r}", kind, KINDS)
        for name, choices in (("names", NAME_SPLITS), ("framing", FRAMINGS), ("answer", tuple(ANSWERS))):
            one_of(f"{name}={getattr(self, name)!r}", getattr(self, name), choices)
        number("noise", self.noise)
        require(self.noise > 0, f"noise={self.noise}: use a standard deviation above 0")
        require(not self.ratings or "user_item" in self.kind, f"ratings={self.ratings!r}: add user_item to kind")
        if "user_item" in self.kind:
            self._check_table()

    def _check_table(self) -> None:
        users, items = ratings.table(self.ratings).shape
        whole("catalogue", (self.catalogue,), max(self.arms), items)
        whole("features", self.features, 1, min(users, self.catalogue))

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw one scenario, from ``rng`` alone."""
        context = pick(domains(self.contexts), rng)
        n_arms, horizon, kind = pick(self.arms, rng), pick(self.horizon, rng), pick(self.kind, rng)
        n_features = pick(self.features, rng)
        draw = self._linear if kind == "linear" else self._user_item
        contexts_T_F, weights_A_F = draw(n_arms, horizon, n_features, rng)
        game = {
            "kind": kind,
            "law": "gaussian",
            "noise": float(self.noise),
            "contexts": (np.round(contexts_T_F, CONTEXT_DECIMALS) + 0.0).tolist(),  # + 0.0: -0.0 becomes 0.0
            "weights": np.round(weights_A_F, DECIMALS).tolist(),
        }
        names = action_names(context, n_arms, rng, self.names)
        telling = {"framing": self.framing} if self.framing != "neutral" else {}
        telling |= {"answer": self.answer} if self.answer != "free" else {}
        return Scenario(self.ENV, horizon, names, context.key, game, telling)

    def prior(self, scenario: Scenario) -> dict[str, Any]:
        """What a player of ``scenario`` may know about its means beforehand: arguments of ``linear.LinearPrior``.

        ``ValueError`` for user-item games, whose weights follow no such law.
        """
        kind, contexts = scenario.game["kind"], scenario.game["contexts"]
        require(kind == "linear", f"kind={kind!r}: posterior regret needs kind=linear")
        return {"law": "linear", "contexts": contexts, "scale": 1.0, "noise": float(self.noise)}

    def _linear(
        self, n_arms: int, horizon: int, n_features: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Contexts, shape (T, F), and weights, shape (A, F)."""
        contexts_T_F = rng.standard_normal((horizon, n_features))
        contexts_T_F /= np.linalg.norm(contexts_T_F, axis=1, keepdims=True)
        return contexts_T_F, rng.standard_normal((n_arms, n_features))

    def _user_item(
        self, n_arms: int, horizon: int, n_features: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features of T users, who may come back, and weights of A items."""
        features, weights = ratings.factors(self.ratings, self.catalogue, n_features)
        return features[rng.integers(len(features), size=horizon)], weights[rng.permutation(self.catalogue)[:n_arms]]
