"""Six habits of playing a bandit, vectorized over games: what the experiments on selection are about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmft_verl.types import Scenario

POLICIES = ("uniform", "stick", "greedy", "win-stay", "eps-greedy", "ucb")
"""``stick`` never leaves its first arm; ``win-stay`` keeps an arm that has just paid above 0.5 and draws another one
otherwise; ``greedy`` and ``eps-greedy`` (30 % uniform) take the best average so far, 0 for arms not tried, after a
first arm drawn uniformly; ``ucb`` tries every arm once, then adds sqrt(1 / 2n) to the average of n rewards."""


def play(
    kind_N: np.ndarray, means: np.ndarray, horizon: int, rng: np.random.Generator, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Arms played and rewards paid, shape (N, T): game n by policy ``POLICIES[kind_N[n]]``.

    ``means`` has shape (N, A), or (N, T, A) if they drift. Rewards are Bernoulli, or Gaussian if there is a ``noise``.
    """
    means_N_T_A = over_rounds(means, horizon)
    n_games, _, n_arms = means_N_T_A.shape
    rows = np.arange(n_games)
    plays_N_A, sums_N_A = np.zeros((n_games, n_arms)), np.zeros((n_games, n_arms))
    actions_N_T, rewards_N_T = np.zeros((n_games, horizon), dtype=int), np.zeros((n_games, horizon))
    for t in range(horizon):
        any_arm = rng.integers(0, n_arms, n_games)
        ties_N_A = 1e-6 * rng.random((n_games, n_arms))
        average_N_A = sums_N_A / np.maximum(plays_N_A, 1)
        greedy = (average_N_A + ties_N_A).argmax(axis=1) if t else any_arm
        bonus_N_A = np.where(plays_N_A > 0, np.sqrt(0.5 / np.maximum(plays_N_A, 1)), 1e3)
        ucb = (average_N_A + bonus_N_A + ties_N_A).argmax(axis=1)
        last, pleased = (actions_N_T[:, t - 1], rewards_N_T[:, t - 1] > 0.5) if t else (any_arm, np.ones(n_games, bool))
        eps_greedy = np.where(rng.random(n_games) < 0.3, any_arm, greedy)
        choices = (any_arm, last, greedy, np.where(pleased, last, any_arm), eps_greedy, ucb)
        arm = np.stack(choices)[kind_N, rows]
        mean = means_N_T_A[rows, t, arm]
        reward = mean + noise * rng.standard_normal(n_games) if noise else (rng.random(n_games) < mean).astype(float)
        plays_N_A[rows, arm] += 1
        sums_N_A[rows, arm] += reward
        actions_N_T[:, t], rewards_N_T[:, t] = arm, reward
    return actions_N_T, rewards_N_T


def over_rounds(means: np.ndarray, horizon: int) -> np.ndarray:
    """``means`` of shape (N, A) or (N, T, A) as (N, T, A)."""
    means_N_T_A = means if means.ndim == 3 else means[:, None]
    return np.broadcast_to(means_N_T_A, (len(means), horizon, means.shape[-1]))


def true_regret(actions_N_T: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Pseudo-regret (dynamic regret if means drift) of every game, shape (N,); ``means`` as in ``play``."""
    means_N_T_A = over_rounds(means, actions_N_T.shape[1])
    played_N_T = np.take_along_axis(means_N_T_A, actions_N_T[..., None], axis=2)[..., 0]
    return np.asarray((means_N_T_A.max(axis=2) - played_N_T).sum(axis=1))


def by_arms(scenarios: Sequence[Scenario]) -> dict[int, np.ndarray]:
    """Number of arms -> the means of the scenarios that have it, shape (N, A)."""
    counts = sorted({len(scenario.actions) for scenario in scenarios})
    return {
        count: np.array([scenario.game["means"] for scenario in scenarios if len(scenario.actions) == count])
        for count in counts
    }
