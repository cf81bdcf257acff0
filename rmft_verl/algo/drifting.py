"""Exact posterior regret where means drift by a known law: `posterior.Prior.kinds` says which.

    sum_t E[ max_a mu_t(a) - mu_t(a_t) | h_t ]  +  H ( E[ max_a mu_T(a) | h ] - max_a E[ mu_T(a) | h ] )

h_t are the actions and rewards before round t, h all of them. Each kind of drift has its own filter: it gives the
evidence p(h_t | kind) and, of each round, E[max_a mu_t(a) | h_t, kind] and E[mu_t(a) | h_t, kind]; the kinds are mixed
by their evidence.

    abrupt, stationary   a sum over the rounds at which the present phase may have begun, each with ``beliefs`` of it
    seasonal             arms are independent: a grid over the phase of each
    gradual              arms are independent given the best one's start: a grid over starts and present means

The grids are the only approximation (docs/selection.md has its size). Generators that shrink their drift to a budget
name no kinds: particles remain for those (``algo/particles.py``).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rmft_verl.algo.posterior import (
    Prior,
    history,
    integrals,
    leave_one_out,
    log_likelihood,
    refuse_full_information,
)
from rmft_verl.types import Trajectory

PHASES = 512
"""Phases of a seasonal arm that are told apart."""


class Filter(NamedTuple):
    """What one kind of drift says before each round t and, at T, of the last round after all rewards."""

    evidence_T: np.ndarray
    """log p(h_t | kind) up to a constant that all kinds share, shape (T + 1,)."""
    best_T: np.ndarray
    """E[max_a mu_t(a)], shape (T + 1,)."""
    means_T_A: np.ndarray
    """E[mu_t(a)], shape (T + 1, A)."""


def score(trajectory: Trajectory, prior: Prior, further: float = 0.0) -> float | None:
    """As ``posterior.score``, for means that drift by ``prior.kinds``."""
    if trajectory.oracle.kind == "none":
        return None
    refuse_full_information(trajectory)
    return drift_regret(prior, *history(trajectory), len(trajectory.scenario.actions), further)


def drift_regret(
    prior: Prior, actions_T: np.ndarray, rewards_T: np.ndarray, n_actions: int, further: float = 0.0
) -> float:
    """Posterior dynamic regret, with the continuation over ``further`` rounds; an action of -1 counts as uniform."""
    played = prior, actions_T, rewards_T, n_actions
    _, best_T, means_T_A = _mixed([_of_kind(kind, *played) for kind in prior.kinds])
    policy_T_A = np.where(actions_T[:, None] < 0, 1 / n_actions, actions_T[:, None] == np.arange(n_actions))
    regret = best_T[:-1].sum() - (policy_T_A * means_T_A[:-1]).sum()
    return float(regret + further * (best_T[-1] - means_T_A[-1].max()))


def _of_kind(kind: str, prior: Prior, actions_T: np.ndarray, rewards_T: np.ndarray, n_actions: int) -> Filter:
    played = prior, actions_T, rewards_T, n_actions
    if kind == "stationary":
        return _phases(*played, (0,))
    if kind == "abrupt":
        return _phases(*played, prior.changes)
    if kind == "gradual":
        return _walk(*played)
    return _mixed([_season(*played, period) for period in prior.periods])


def _mixed(found: list[Filter]) -> Filter:
    evidence_N_T = np.array([one.evidence_T for one in found])
    evidence_T = np.logaddexp.reduce(evidence_N_T, axis=0) - math.log(len(found))
    weights_N_T = np.exp(evidence_N_T - evidence_T) / len(found)
    best_T = (weights_N_T * [one.best_T for one in found]).sum(axis=0)
    return Filter(evidence_T, best_T, np.einsum("nt,nta->ta", weights_N_T, [one.means_T_A for one in found]))


def _phases(
    prior: Prior, actions_T: np.ndarray, rewards_T: np.ndarray, n_actions: int, changes: tuple[int, ...]
) -> Filter:
    """All means are drawn anew at c distinct rounds of 1..T-1, uniformly over these, c uniform in ``changes``.

    With e(s, t) the evidence of the rewards in rounds s..t-1 under fresh means, and V_m(s) the sum over all ways in
    which phase m begins in round s of the product of the e's before it: in round t phase m has begun in s with weight
    V_m(s) e(s, t) C(T-1-t, c-m) / C(T-1, c), where the last factor counts the changes still to come.
    """
    horizon, most = len(actions_T), max(changes)
    played_T_A = actions_T[:, None] == np.arange(n_actions)
    paid_T_A = np.where(played_T_A, rewards_T[:, None], 0.0)
    evidence_S_T = np.full((horizon, horizon + 1), -np.inf)
    best_S_T, means_S_T_A = np.zeros((horizon, horizon + 1)), np.zeros((horizon, horizon + 1, n_actions))
    for s in range(horizon if most else 1):
        sums = [np.cumsum(values[s:], axis=0) for values in (played_T_A.astype(float), paid_T_A)]
        found = integrals(prior, *(np.concatenate([np.zeros((1, n_actions)), each]) for each in sums))
        possible = np.isfinite(found.log_evidence)
        evidence_S_T[s, s:] = np.where(possible, found.log_evidence - found.log_evidence[0], -np.inf)
        best_S_T[s, s:] = np.where(possible, found.best, 0.0)
        means_S_T_A[s, s:] = np.where(possible[:, None], found.means_A, 0.0)
    begun_S = np.where(np.arange(horizon) == 0, 0.0, -np.inf)
    log_S_T = np.full_like(evidence_S_T, -np.inf)
    rounds_T = np.minimum(np.arange(horizon + 1), horizon - 1)
    for m in range(most + 1):
        ways_T = [
            sum(math.comb(horizon - 1 - t, c - m) / math.comb(horizon - 1, c) for c in changes if c >= m) / len(changes)
            for t in rounds_T.tolist()
        ]
        with np.errstate(divide="ignore"):
            log_S_T = np.logaddexp(log_S_T, begun_S[:, None] + evidence_S_T + np.log(ways_T))
        earlier_S_S = np.tri(horizon, k=-1, dtype=bool).T  # begun before
        before_S_S = np.where(earlier_S_S, begun_S[:, None] + evidence_S_T[:, :horizon], -np.inf)
        begun_S = np.logaddexp.reduce(before_S_S, axis=0)
    log_S_T[np.arange(horizon)[:, None] > rounds_T] = -np.inf
    evidence_T = np.logaddexp.reduce(log_S_T, axis=0)
    weights_S_T = np.exp(log_S_T - evidence_T)
    return Filter(evidence_T, (weights_S_T * best_S_T).sum(axis=0), np.einsum("st,sta->ta", weights_S_T, means_S_T_A))


def _season(prior: Prior, actions_T: np.ndarray, rewards_T: np.ndarray, n_actions: int, period: int) -> Filter:
    """Sines of one period, each arm with its own uniform phase."""
    horizon = len(actions_T)
    phases_M = (np.arange(PHASES) + 0.5) / PHASES
    angles_T_M = 2 * np.pi * (np.arange(horizon)[:, None] / period + phases_M)
    paths_T_M = (prior.low + prior.high) / 2 + (prior.high - prior.low) / 2 * np.sin(angles_T_M)
    log_A_M = np.full((n_actions, PHASES), -math.log(PHASES))
    rows: list[tuple[float, float, np.ndarray]] = []
    for t in range(horizon + 1):
        values_M = paths_T_M[min(t, horizon - 1)]
        total_A = np.logaddexp.reduce(log_A_M, axis=1)
        weights_A_M = np.exp(log_A_M - total_A[:, None])
        order_M = values_M.argsort()
        below_M = np.minimum(weights_A_M[:, order_M].cumsum(axis=1), 1.0).prod(axis=0)
        rows.append((total_A.sum(), values_M[order_M] @ np.diff(below_M, prepend=0.0), weights_A_M @ values_M))
        if t < horizon and actions_T[t] >= 0:
            log_A_M[actions_T[t]] += log_likelihood(prior, np.array(1.0), rewards_T[t], values_M)
    return Filter(*(np.array(column) for column in zip(*rows, strict=True)))


def _walk(prior: Prior, actions_T: np.ndarray, rewards_T: np.ndarray, n_actions: int) -> Filter:
    """Reflected random walks; the best start is at least the gap above the others.

    ``mass_A_S_G``: for each arm, the joint mass of start s, present mean g and the arm's rewards.
    """
    grid = _grid(prior)
    size, horizon, scale = len(grid.means_G), len(actions_T), 0.0
    mass_A_S_G = np.broadcast_to(np.eye(size) / size, (n_actions, size, size))
    rows: list[tuple[float, float, np.ndarray]] = []
    for t in range(horizon + 1):
        below_A_S_G = grid.below_S_S @ mass_A_S_G  # the same of an arm that is not the best, given the best one's start
        lead_A_S, trail_A_S = mass_A_S_G.sum(axis=2), below_A_S_G.sum(axis=2)
        P_A_S, D_A_S = leave_one_out(trail_A_S, lead_A_S)
        total = (lead_A_S * P_A_S).sum()
        means_A = ((mass_A_S_G @ grid.means_G) * P_A_S + (below_A_S_G @ grid.means_G) * D_A_S).sum(axis=1) / total
        cdf_A_Q, trail_A_Q = (each.cumsum(axis=2).reshape(n_actions, -1) for each in (mass_A_S_G, below_A_S_G))
        cdf_G = (cdf_A_Q * leave_one_out(trail_A_Q, cdf_A_Q)[0]).sum(axis=0).reshape(size, size).sum(axis=0) / total
        under = (cdf_G.sum() - cdf_G[-1] / 2) * (prior.high - prior.low) / size  # the integral of the largest one's
        rows.append((scale + math.log(total), prior.high - under, means_A))
        if t < horizon and actions_T[t] >= 0:
            log_G = log_likelihood(prior, np.array(1.0), rewards_T[t], grid.means_G)
            mass_A_S_G = mass_A_S_G.copy()
            mass_A_S_G[actions_T[t]] *= np.exp(log_G - log_G.max())
            factor = mass_A_S_G[actions_T[t]].sum()
            mass_A_S_G[actions_T[t]] /= factor
            scale += log_G.max() + math.log(factor)
        if t < horizon - 1:
            mass_A_S_G = mass_A_S_G @ grid.step_G_G
    evidence_T, best_T, means_T_A = (np.array(column) for column in zip(*rows, strict=True))
    return Filter(evidence_T - evidence_T[0], best_T, means_T_A)  # at first the probability of the gap


class _Grid(NamedTuple):
    means_G: np.ndarray
    """The middles of equal cells of [low, high]."""
    step_G_G: np.ndarray
    """Probability of the cell that follows."""
    below_S_S: np.ndarray
    """The part of cell s (column) at least the gap below the middle of the best one's cell (row)."""


@lru_cache(maxsize=16)
def _grid(prior: Prior) -> _Grid:
    reach = prior.high - prior.low
    width = min(prior.step / 8, prior.noise / 4 if prior.law == "gaussian" else 1.0)
    size = min(max(math.ceil(reach / width), 48), 160)
    cell = reach / size
    middles_G, edges_G = (np.arange(size) + 0.5) * cell, np.arange(size + 1) * cell

    def reached(limit: np.ndarray) -> np.ndarray:  # P(free walk <= limit) of each cell
        return np.asarray(np.clip((limit - middles_G[:, None] + prior.step) / (2 * prior.step), 0, 1))

    # the free walk reaches past an end by one step at most, and is folded back
    folded = reached(edges_G) - reached(-edges_G) + (reached(2 * reach + 0 * edges_G) - reached(2 * reach - edges_G))
    parts = np.clip((middles_G[:, None] - prior.min_gap - edges_G[:-1]) / cell, 0, 1)
    return _Grid(prior.low + middles_G, np.diff(folded, axis=1), parts)
