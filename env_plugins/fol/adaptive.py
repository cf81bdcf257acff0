"""Reward sequences that react to the player: an adversary, and a matrix game against Hedge.

The pure functions work on the last axis, so a batched simulator may call them on arrays of any leading shape.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from env_plugins.fol.sequences import rounded

TIE = 1e-9
"""Probabilities closer than this are equal: sums of floats must not break a tie."""


class Rewarder(Protocol):
    """Reveals one reward vector per round."""

    def reveal(self, policy_A: np.ndarray) -> np.ndarray:
        """Rewards of the next round, in [0, 1] with 2 decimals, shape (A,), when the player plays ``policy_A``."""
        ...


class Oblivious:
    """Reveals the rows of a fixed matrix, whatever is played."""

    def __init__(self, rewards_T_A: np.ndarray) -> None:
        self._rounds = iter(rewards_T_A)

    def reveal(self, policy_A: np.ndarray) -> np.ndarray:
        return np.asarray(next(self._rounds))


class Adversary:
    """In every round the player's most probable action gets 0, and the others get their entry of ``tempting_T_A``.

    A player that puts all weight on one action earns nothing, while the best fixed action loses at most one round in K
    on average: the regret of such a player is linear. Ties are broken by numbers drawn from ``rng`` in advance.
    """

    def __init__(self, tempting_T_A: np.ndarray, rng: np.random.Generator) -> None:
        self._rounds = iter(zip(tempting_T_A, rng.random(tempting_T_A.shape), strict=True))

    def reveal(self, policy_A: np.ndarray) -> np.ndarray:
        tempting_A, ties_A = next(self._rounds)
        return hurt(tempting_A, policy_A, ties_A)


class MatrixGame:
    """The player's payoffs against the mixed action of an opponent that plays Hedge with the stated rate.

    Both choose at the same time: the opponent's mixed action depends on the policies of earlier rounds.
    """

    def __init__(self, payoff_A_B: np.ndarray, opponent_A_B: np.ndarray, rate: float) -> None:
        self._payoff_A_B, self._opponent_A_B, self._rate = payoff_A_B, opponent_A_B, rate
        self._sums_B = np.zeros(payoff_A_B.shape[1])

    def reveal(self, policy_A: np.ndarray) -> np.ndarray:
        rewards_A = self._payoff_A_B @ hedge(self._sums_B, self._rate)
        self._sums_B = self._sums_B + policy_A @ self._opponent_A_B
        return rounded(rewards_A)


def hurt(rewards_A: np.ndarray, policy_A: np.ndarray, ties_A: np.ndarray) -> np.ndarray:
    """``rewards_A`` with 0 for the most probable action; ``ties_A`` decides ties, largest first. Shape (..., A)."""
    most = policy_A >= policy_A.max(axis=-1, keepdims=True) - TIE
    victim = np.where(most, ties_A, -1.0).argmax(axis=-1)
    return np.asarray(np.where(np.arange(policy_A.shape[-1]) == victim[..., None], 0.0, rewards_A))


def hedge(sums_A: np.ndarray, rate: float) -> np.ndarray:
    """Exponential weights: the policy proportional to exp(rate x past reward sums), shape (..., A).

    With ``hedge_rate`` its external regret is at most sqrt(T log K / 2) for rewards in [0, 1] (Cesa-Bianchi and Lugosi
    2006, theorem 2.2).
    """
    weights_A = np.exp(rate * (sums_A - sums_A.max(axis=-1, keepdims=True)))
    return np.asarray(weights_A / weights_A.sum(axis=-1, keepdims=True))


def hedge_rate(horizon: int, n_actions: int) -> float:
    """sqrt(8 log K / T): the standard rate for rewards in [0, 1] and a known horizon."""
    return float(np.sqrt(8 * np.log(n_actions) / horizon))
