"""Hidden games as plain JSON, and the rewarder that plays one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from env_plugins.fol.adaptive import Adversary, MatrixGame, Oblivious, Rewarder, hedge_rate
from env_plugins.fol.sequences import SEQUENCES, Dials, rounded, tempting

NAMES = (*SEQUENCES, "adversary", "matrix_game")
"""Every sequence that a recipe may name."""


def draw_game(name: str, rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> dict[str, Any]:
    """Draw the game called ``name``. It stores all dials, even those that it does not use.

    ``rewards``, shape (T, A), is the sequence itself, or what the adversary pays to spared actions. A matrix game
    has ``payoff`` and ``opponent``, shape (A, A), the payoffs of both sides for the player's row and the opponent's
    column, and the opponent's ``rate``. Half of these games are zero-sum (the two payoffs sum to 1); in the others the
    opponent's payoffs are independent.
    """
    law = {"sequence": name, "noise": float(dials.noise), "gap": float(dials.gap)}
    if name == "matrix_game":
        payoff, other = rounded(rng.random((2, n_actions, n_actions)))
        opponent = rounded(1 - payoff) if rng.random() < 0.5 else other
        rate = hedge_rate(horizon, n_actions)
        return law | {"payoff": payoff.tolist(), "opponent": opponent.tolist(), "rate": rate}
    draw = tempting if name == "adversary" else SEQUENCES[name]
    return law | {"rewards": draw(rng, horizon, n_actions, dials).tolist()}


def rewarder(game: Mapping[str, Any], seed: int) -> Rewarder:
    """A new ``Rewarder`` for ``game``; only the adversary's ties depend on ``seed``."""
    if game["sequence"] == "matrix_game":
        return MatrixGame(np.array(game["payoff"]), np.array(game["opponent"]), game["rate"])
    rewards_T_A = np.array(game["rewards"], dtype=float)
    if game["sequence"] == "adversary":
        return Adversary(rewards_T_A, np.random.default_rng(seed))
    return Oblivious(rewards_T_A)
