"""Posterior regret under any law of drifting means, from games drawn from it and weighted by what the player saw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rmft_verl.algo.posterior import Prior, before, history, log_likelihood, refuse_full_information
from rmft_verl.types import Trajectory


class Estimate(NamedTuple):
    """A score estimated from particles, and its accuracy."""

    score: float
    standard_error: float
    effective: float
    """The smallest effective number of particles of any round: 1 / sum of squared weights. Below about ten the standard
    error is unreliable too: use more paths."""


def score_by_particles(
    trajectory: Trajectory, prior: Prior, paths_P_T_A: np.ndarray, further: float = 0.0
) -> Estimate | None:
    """``score`` for means that drift; ``paths_P_T_A`` are draws of the generator's ``draw_means``, shape (P, T, A).

    Trajectories of one scenario should share their paths: most of their error is then equal and cancels in a ranking.
    """
    if trajectory.oracle.kind == "none":
        return None
    refuse_full_information(trajectory)
    return particle_regret(prior, paths_P_T_A, *history(trajectory), further)


def particle_regret(
    prior: Prior, paths_P_T_A: np.ndarray, actions_T: np.ndarray, rewards_T: np.ndarray, further: float = 0.0
) -> Estimate:
    """Posterior dynamic regret by importance sampling: paths of the means, weighted by the likelihood of the rewards.

    sum_t E[ max_a mu_t(a) - mu_t(a_t) | h_t ]; the continuation uses the means of the last round. The standard error
    follows from the delta method for self-normalized weights, over all rounds at once (Owen 2013, chapter 9).
    """
    if paths_P_T_A.shape[1] != len(actions_T):
        raise ValueError(f"paths of {paths_P_T_A.shape[1]} rounds for a horizon of {len(actions_T)}")
    rounds_T, played_T = np.arange(len(actions_T)), actions_T >= 0
    chosen_P_T = np.where(played_T, paths_P_T_A[:, rounds_T, actions_T], paths_P_T_A.mean(axis=-1))
    steps_P_T = log_likelihood(prior, played_T, np.where(played_T, rewards_T, 0.0), chosen_P_T)
    log_P_T = before(steps_P_T.T).T
    weights_P_T = np.exp(log_P_T - log_P_T.max(axis=0))
    weights_P_T /= weights_P_T.sum(axis=0)
    last_P_A = paths_P_T_A[:, -1]
    favorite = int((weights_P_T[:, -1] @ last_P_A).argmax())
    doubt_P = further * (last_P_A.max(axis=-1) - last_P_A[:, favorite])
    regret_P_T = np.column_stack([paths_P_T_A.max(axis=-1) - chosen_P_T, doubt_P])
    mean_T = (weights_P_T * regret_P_T).sum(axis=0)
    influence_P = (weights_P_T * (regret_P_T - mean_T)).sum(axis=1)
    effective = float(1 / (weights_P_T**2).sum(axis=0).max())
    return Estimate(float(mean_T.sum()), float(np.sqrt((influence_P**2).sum())), effective)
