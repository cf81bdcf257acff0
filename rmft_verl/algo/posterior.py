"""Posterior regret: the expected regret of a trajectory, given only what the player had seen (docs/selection.md).

    sum_t E[ max_a mu_a - mu_{a_t} | h_t ]  +  H ( E[ max_a mu_a | h_T ] - max_a E[ mu_a | h_T ] )

h_t are the actions and rewards before round t; the expectation is over the means, under the posterior that the law of
the scenarios induces. The first term is the Rao-Blackwell form of the pseudo-regret: it has the same mean over
scenarios (the tower property), without the luck of the instance. The second, the continuation, is the expected regret
of playing the arm that looks best for H more rounds; H = 0 leaves it out. All values are in reward units.

The law comes from the environment. A Generator that supports this score has a method

    prior(scenario) -> Mapping[str, Any]        arguments of ``Prior``: what players know of the means at first

It depends only on the generator's options and on what every player of ``scenario`` is told (number of actions, reward
law and scale), and raises ``ValueError`` if its means follow no such law. A stored run can therefore be scored again
with the ``env.options`` of its config.yaml. If means drift, the generator also has

    draw_means(scenario, rng) -> array (T, A)   expected rewards of another game about which players are told the same

whose law, too, depends on the size of the scenario and its prior alone: scenarios that share these share the draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rmft_verl.types import Action, Trajectory

LAWS = ("bernoulli", "gaussian")

KINDS = ("stationary", "abrupt", "gradual", "seasonal")


@dataclass(frozen=True)
class Prior:
    """Independent means, uniform in [``low``, ``high``], given that the best is at least ``min_gap`` above the second.

    ``ValueError`` for values that describe no such law.
    """

    law: str
    """Distribution of rewards around their mean: ``bernoulli`` or ``gaussian``."""
    low: float
    high: float
    min_gap: float = 0.0
    noise: float = 0.0
    """Standard deviation of Gaussian rewards; Bernoulli rewards do not use it."""
    drifts: bool = False
    """True if means change over the rounds; then only ``drift_regret`` and ``particle_regret`` apply."""
    kinds: tuple[str, ...] = ()
    """Laws of the drift, of ``KINDS``, one drawn uniformly for each game; empty = another: particles represent it."""
    changes: tuple[int, ...] = ()
    """``abrupt``: numbers of rounds in which all means are drawn anew."""
    step: float = 0.0
    """``gradual``: the most that a mean moves in a round, uniformly and reflected at ``low`` and ``high``."""
    periods: tuple[int, ...] = ()
    """``seasonal``: periods of the sines, which fill ``low`` to ``high``."""

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise ValueError(f"posterior regret knows no law={self.law!r}: use {' or '.join(LAWS)} rewards")
        if not self.low < self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if not 0 <= self.min_gap < self.high - self.low:
            raise ValueError(f"min_gap={self.min_gap} must lie in [0, {self.high - self.low:g})")
        if self.law == "bernoulli" and not (self.low >= 0 and self.high <= 1):
            raise ValueError(f"low={self.low}, high={self.high}: Bernoulli means lie within 0 and 1")
        if self.law == "gaussian" and not self.noise > 0:
            raise ValueError(f"noise={self.noise}: Gaussian rewards need a standard deviation above 0")
        for kind, needed in zip(KINDS, (True, self.changes, self.step > 0, self.periods), strict=True):
            if kind in self.kinds and not needed:
                raise ValueError(f"kinds has {kind!r}: say its changes, step or periods")
        if not set(self.kinds) <= set(KINDS) or (self.kinds and not self.drifts):
            raise ValueError(f"kinds={self.kinds}: name kinds of {', '.join(KINDS)}, and drifts=True")


def score(trajectory: Trajectory, prior: Prior, further: float = 0.0) -> float | None:
    """Posterior regret of a trajectory, with the continuation over ``further`` rounds; None if the episode failed.

    As in ``regret``, rounds without an action count as uniform play. ``ValueError`` for means that drift, and for
    full-information games, where the player does not decide what it sees, so there is no luck to remove.
    """
    if trajectory.oracle.kind == "none":
        return None
    refuse_full_information(trajectory)
    if prior.drifts:
        raise ValueError(
            "means that drift have no closed posterior: use drift_regret, or particle_regret with paths of the means"
        )
    actions_T, rewards_T = history(trajectory)
    return float(posterior_regret(prior, actions_T, rewards_T, len(trajectory.scenario.actions), further))


def history(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """The arms played (-1 if none) and the rewards that they paid (NaN if none), each of shape (T,)."""
    rewards = [turn.reward for turn in trajectory.turns if turn.action is not None]
    paid = [np.nan if reward is None else reward for reward in rewards]
    actions_T: Sequence[Action | None] = trajectory.actions_T
    unplayed = trajectory.scenario.horizon - len(paid)
    return np.array([-1 if a is None else a for a in actions_T]), np.array(paid + [np.nan] * unplayed)


def posterior_regret(
    prior: Prior, actions_T: np.ndarray, rewards_T: np.ndarray, n_actions: int, further: float = 0.0
) -> np.ndarray:
    """Posterior regret with its continuation; shape (...) for ``actions_T`` and ``rewards_T`` of shape (..., T).

    An action of -1 is a round that was not played: it counts as uniform play and pays nothing. Batches of a few
    trajectories are fastest.
    """
    played_T_A = actions_T[..., None] == np.arange(n_actions)
    paid_T_A = np.where(played_T_A, rewards_T[..., None], 0.0)
    best_T, means_T_A = beliefs(prior, before(played_T_A), before(paid_T_A))
    policy_T_A = np.where(actions_T[..., None] < 0, 1.0 / n_actions, played_T_A)
    regret_T = best_T[..., :-1] - (policy_T_A * means_T_A[..., :-1, :]).sum(axis=-1)
    doubt = best_T[..., -1] - means_T_A[..., -1, :].max(axis=-1)
    return np.asarray(regret_T.sum(axis=-1) + further * doubt)


def beliefs(prior: Prior, plays_A: np.ndarray, sums_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[max_a mu_a | h], shape (...), and E[mu_a | h], shape (..., A), from two statistics of each history.

    ``plays_A``: how often each arm was played; ``sums_A``: the sum of the rewards it paid; both of shape (..., A).

    Let f_a be the posterior density of arm a without the condition on the gap g, F_a its distribution function and
    M_a(x) = int_{u<x} u f_a(u) du. Given the gap, up to the common factor Z,

        Z             = sum_a int f_a(y) P_a(y) dy              P_a(y) = prod_{j != a} F_j(y - g)
        Z E[max]      = sum_a int y f_a(y) P_a(y) dy            arm a is best at y, all others at least g below
        Z E[mu_a]     = int y f_a(y) P_a(y) dy                  ... arm a is best
                      + int M_a(y - g) D_a(y) dy                ... another arm i is best at y and a is below
        D_a(y)        = sum_{i != a} f_i(y) prod_{j != i, a} F_j(y - g)

    All integrals are Gauss-Legendre sums, exact for the polynomials that Bernoulli densities are; a score of 200 rounds
    is off by less than 1e-8 (docs/results/posterior_unbiased.md). ``ValueError`` if the rewards contradict the gap; in
    scenarios of this law the probability of that is below 1e-9 / P(gap).
    """
    found = integrals(prior, plays_A, sums_A)
    # The inverse of P(gap | h) has mean 1 / P(gap), so this small a value is not chance.
    if np.any(found.gap_probability < 1e-9):
        raise ValueError(
            f"the rewards contradict min_gap={prior.min_gap}: is this the law the scenario was drawn from?"
        )
    return found.best, found.means_A


class Integrals(NamedTuple):
    """What ``beliefs`` computes of each history; the means are NaN where the evidence is 0."""

    log_evidence: np.ndarray
    """log p(rewards), with the gap, up to a constant that all histories share."""
    gap_probability: np.ndarray
    """P(gap | h) without the condition on it."""
    best: np.ndarray
    means_A: np.ndarray


def integrals(prior: Prior, plays_A: np.ndarray, sums_A: np.ndarray) -> Integrals:
    """The integrals that ``beliefs`` describes."""
    rule = _rule(prior.low, prior.high, prior.min_gap, _nodes(prior, plays_A))
    inner = log_likelihood(prior, plays_A[..., None], sums_A[..., None], rule.inner_N)
    outer = log_likelihood(prior, plays_A[..., None], sums_A[..., None], rule.outer_Q)
    peak = inner.max(axis=-1, keepdims=True)
    f_A_N, f_A_Q = np.exp(inner - peak), np.exp(outer - peak) * rule.weights_Q
    F_A_Q, M_A_Q = f_A_N @ rule.integrate_N_Q, (f_A_N * rule.inner_N) @ rule.integrate_N_Q
    P_A_Q, D_A_Q = leave_one_out(F_A_Q, f_A_Q)
    leads_A_Q = f_A_Q * P_A_Q
    total = leads_A_Q.sum(axis=(-2, -1))
    leads_A = leads_A_Q @ rule.outer_Q
    trails_A = (M_A_Q * D_A_Q).sum(axis=-1)
    free = (f_A_N @ rule.mass_N).prod(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_evidence = np.log(total) + peak.sum(axis=(-2, -1))
        best, means_A = leads_A.sum(axis=-1) / total, (leads_A + trails_A) / total[..., None]
    return Integrals(log_evidence, total / free, best, means_A)


def refuse_full_information(trajectory: Trajectory) -> None:
    if trajectory.oracle.kind == "external" or any(isinstance(action, tuple) for action in trajectory.actions_T):
        raise ValueError(
            f"{trajectory.scenario.env} reveals all rewards: what a player does decides nothing it sees, so posterior "
            "regret has no luck to remove: score it by regret"
        )


def before(values_T: np.ndarray) -> np.ndarray:
    """Sums over the rounds (second-to-last axis) before each round and after the last, shape (..., T + 1, A)."""
    zero = np.zeros_like(values_T[..., :1, :], dtype=float)
    return np.concatenate([zero, np.cumsum(values_T, axis=-2)], axis=-2)


def log_likelihood(prior: Prior, plays: np.ndarray, sums: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Log-likelihood of ``plays`` rewards with sum ``sums``, without terms independent of ``means``; broadcasts."""
    if prior.law == "gaussian":
        return np.asarray((sums * means - plays * means**2 / 2) / prior.noise**2)
    inside = np.clip(means, 1e-12, 1 - 1e-12)  # a drifting mean may touch 0 or 1
    return np.asarray(sums * np.log(inside) + (plays - sums) * np.log1p(-inside))


def leave_one_out(F_A_Q: np.ndarray, f_A_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every arm a: P_a, the product of F_j over j != a, and D_a, its derivative if f_j is that of F_j.

    It multiplies from both ends, because dividing by F_a fails where that is 0.
    """
    n_arms = F_A_Q.shape[-2]
    none = np.ones_like(F_A_Q[..., 0, :]), np.zeros_like(F_A_Q[..., 0, :])
    left, right = [none], [none]
    for j in range(n_arms - 1):
        for products, arm in ((left, j), (right, n_arms - 1 - j)):
            P, D = products[-1]
            F, f = F_A_Q[..., arm, :], f_A_Q[..., arm, :]
            products.append((P * F, D * F + P * f))
    pairs = list(zip(left, reversed(right), strict=True))
    P_A_Q = np.stack([P * Q for (P, _), (Q, _) in pairs], axis=-2)
    D_A_Q = np.stack([D * Q + P * E for (P, D), (Q, E) in pairs], axis=-2)
    return P_A_Q, D_A_Q


class _Rule(NamedTuple):
    """Gauss-Legendre nodes: densities are evaluated at ``inner_N``, the best mean is integrated over ``outer_Q``."""

    inner_N: np.ndarray
    """Nodes in [low, high]."""
    mass_N: np.ndarray
    """Weights of ``inner_N``."""
    outer_Q: np.ndarray
    """Nodes in [low + gap, high], where the best mean may lie."""
    weights_Q: np.ndarray
    integrate_N_Q: np.ndarray
    """(values at inner_N) @ integrate_N_Q: their integral from low to each outer node minus the gap."""


@lru_cache(maxsize=256)
def _rule(low: float, high: float, gap: float, n: int) -> _Rule:
    nodes_N, weights_N = np.polynomial.legendre.leggauss(n)
    half, half_best = (high - low) / 2, (high - low - gap) / 2
    outer_Q = low + gap + half_best * (nodes_N + 1)
    # The polynomial through the values is sum_m c_m P_m with c_m = (2m + 1) / 2 sum_k w_k P_m(x_k) f(x_k), and
    # (2m + 1) int_{-1}^z P_m = P_{m+1}(z) - P_{m-1}(z), which is z + 1 for m = 0.
    coefficients_N_M = weights_N[:, None] * np.polynomial.legendre.legvander(nodes_N, n - 1) / 2
    at_Q_M = np.polynomial.legendre.legvander((outer_Q - gap - low) / half - 1, n)
    integrals_Q_M = at_Q_M[:, 1:] - np.column_stack([-np.ones(n), at_Q_M[:, : n - 1]])
    integrate_N_Q = half * coefficients_N_M @ integrals_Q_M.T
    return _Rule(low + half * (nodes_N + 1), half * weights_N, outer_Q, half_best * weights_N, integrate_N_Q)


def _nodes(prior: Prior, plays_A: np.ndarray) -> int:
    """Number of nodes that the longest history needs.

    After n rounds the narrowest posterior is about scale / sqrt(n) wide; the Legendre series of such a peak needs a
    number of terms that grows like range / width. The factor was found by halving the spacing until nothing changed.
    """
    scale = prior.noise if prior.law == "gaussian" else 0.5
    rounds = float(plays_A.sum(axis=-1).max())
    return 12 + math.ceil(5 * math.sqrt(rounds) * (prior.high - prior.low) / 2 / scale)
