"""Regret as pure functions of oracle and actions, so it can be recomputed later from the stored file.

An action of None (an episode that ended early) counts as uniform play, so that such episodes have a regret.
All values are in reward units, summed over the T rounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from rmft_verl.types import Action, Oracle, Trajectory


def earned(expected_T_A: np.ndarray, actions_T: Sequence[Action | None]) -> np.ndarray:
    """Expected reward of the action of each round, shape (T,)."""
    horizon, n_actions = expected_T_A.shape
    if len(actions_T) != horizon:
        raise ValueError(f"{len(actions_T)} actions for a horizon of {horizon}")
    policy_T_A = np.full((horizon, n_actions), 1.0 / n_actions)
    for t, action in enumerate(actions_T):
        if isinstance(action, tuple):
            policy_T_A[t] = action
        elif action is not None:
            policy_T_A[t] = np.arange(n_actions) == action
    return np.asarray((policy_T_A * expected_T_A).sum(axis=1))


def pseudo_regret(expected_T_A: np.ndarray, actions_T: Sequence[Action | None]) -> np.ndarray:
    """Cumulative pseudo-regret after each round, shape (T,), non-negative and non-decreasing.

    sum_t (max_a mu_a - mu_{a_t}) on expected rewards, not on the rewards drawn (Park et al. 2026, section on bandits;
    Lattimore and Szepesvari 2020, section 4.4).
    """
    return np.cumsum(expected_T_A.max(axis=1) - earned(expected_T_A, actions_T))


def dynamic_regret(expected_T_A: np.ndarray, actions_T: Sequence[Action | None]) -> np.ndarray:
    """Cumulative dynamic regret after each round, shape (T,), non-negative and non-decreasing.

    sum_t (max_a mu_t(a) - mu_t(a_t)): the comparator follows the drift (Besbes, Gur and Zeevi 2014). The formula is
    that of pseudo-regret, where the means are constant.
    """
    return pseudo_regret(expected_T_A, actions_T)


def contextual_regret(expected_T_A: np.ndarray, actions_T: Sequence[Action | None]) -> np.ndarray:
    """Cumulative regret after each round against the best arm for its context, shape (T,), non-decreasing.

    sum_t (max_a mu(x_t, a) - mu(x_t, a_t)) for contexts x_t (Li et al. 2010, section 2; Lattimore and Szepesvari 2020,
    chapter 19). The formula is that of pseudo-regret, where one context comes back for ever.
    """
    return pseudo_regret(expected_T_A, actions_T)


def external_regret(rewards_T_A: np.ndarray, actions_T: Sequence[Action | None]) -> np.ndarray:
    """External regret after each round against the action that is best up to that round, shape (T,); may be negative.

    max_a sum_{s<=t} R_s(a) - sum_{s<=t} <pi_s, R_s>: the best fixed policy is a corner of the simplex
    (Cesa-Bianchi and Lugosi 2006, chapter 2; Park et al. 2026, section on full information).
    """
    return np.asarray(np.cumsum(rewards_T_A, axis=0).max(axis=1) - np.cumsum(earned(rewards_T_A, actions_T)))


def variation_budget(expected_T_A: np.ndarray) -> float:
    """V_T = sum_{t>=2} max_a |mu_t(a) - mu_{t-1}(a)|, in reward units; 0 if nothing drifts (Besbes et al. 2014)."""
    return float(np.abs(np.diff(expected_T_A, axis=0)).max(axis=1).sum())


REGRETS: dict[str, Callable[[np.ndarray, Sequence[Action | None]], np.ndarray]] = {
    "pseudo": pseudo_regret,
    "external": external_regret,
    "dynamic": dynamic_regret,
    "contextual": contextual_regret,
}
"""Oracle kind -> cumulative regret after each round, shape (T,)."""


def regret_curve(oracle: Oracle, actions_T: Sequence[Action | None]) -> np.ndarray:
    """Cumulative regret after each round, shape (T,); ``KeyError`` for an unknown kind."""
    return REGRETS[oracle.kind](oracle.expected_T_A, actions_T)


def score(trajectory: Trajectory) -> Trajectory:
    """The trajectory with its regret set. The regret stays None if the episode failed and thus has no oracle."""
    if trajectory.oracle.kind not in REGRETS:
        return trajectory
    return dataclasses.replace(trajectory, regret=float(regret_curve(trajectory.oracle, trajectory.actions_T)[-1]))


def uniform_regret(oracle: Oracle) -> float:
    """Expected regret of uniform play on the same game; normalized regret is measured in this unit."""
    return float(regret_curve(oracle, (None,) * oracle.expected_T_A.shape[0])[-1])
