"""The credits of a trajectory's turns for GRPO, one small function each; higher is better.

The advantage of a turn compares its credit with that of the same turn in the other rollouts of the scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rmft_verl.env.guide import UCB_EXPLORATION
from rmft_verl.env.regret import earned, uniform_regret
from rmft_verl.players.arms import TIE, leaders
from rmft_verl.types import Scored

SCALE = 0.5
"""Standard deviation of rewards that ``ucb`` assumes: that of Bernoulli rewards with mean 0.5."""


def score(scored: Scored) -> np.ndarray:
    """Minus the score of the trajectory in units of the regret of uniform play, equal for every turn. Shape (T,).

    With ``selection.score=regret`` this is minus the normalized regret: 0 is the oracle.
    """
    trajectory = scored.trajectory
    uniform = uniform_regret(trajectory.oracle)
    return np.full(len(trajectory.rounds), -scored.score / uniform if uniform > TIE else -scored.score)


def reward(scored: Scored) -> np.ndarray:
    """Sum of the drawn rewards from this turn to the end, in reward units (OG of Chen et al. 2026). Shape (T,)."""
    return _from_here_on([turn.reward or 0.0 for turn in scored.trajectory.rounds])


def strategic(scored: Scored) -> np.ndarray:
    """Sum of 1 - regret / largest possible regret of a round, from this turn to the end (STG of Chen et al. 2026).

    Each term lies in [0, 1]; a round in which all actions are equally good counts 1. Shape (T,).
    """
    expected_T_A = scored.trajectory.oracle.expected_T_A
    worst_T, best_T = expected_T_A.min(axis=1), expected_T_A.max(axis=1)
    spread_T = np.where(best_T - worst_T > TIE, best_T - worst_T, 1.0)
    lost_T = best_T - earned(expected_T_A, scored.trajectory.actions_T)
    return _from_here_on(1 - lost_T / spread_T)


def ucb(scored: Scored) -> np.ndarray:
    """1 if UCB could play the same arm now, else 0; for this turn alone (ALG of Chen et al. 2026). Shape (T,).

    UCB is that of ``players.ucb1`` with rewards of standard deviation ``SCALE``; it plays untried arms first.
    ``ValueError`` for points of the simplex.
    """
    n_arms = len(scored.trajectory.scenario.actions)
    counts_A, sums_A = np.zeros(n_arms), np.zeros(n_arms)
    agrees: list[float] = []
    for turn in scored.trajectory.rounds:
        if not isinstance(turn.action, int) or turn.reward is None:
            raise ValueError("credit ucb needs arms: full-information games have none")
        tried_A = np.maximum(counts_A, 1)
        bound_A = np.where(counts_A > 0, sums_A / tried_A + 2 * SCALE * np.sqrt(UCB_EXPLORATION / tried_A), np.inf)
        agrees.append(float(turn.action in leaders(bound_A.tolist())))
        counts_A[turn.action] += 1
        sums_A[turn.action] += turn.reward
    return np.array(agrees)


CREDITS: dict[str, Callable[[Scored], np.ndarray]] = {
    "score": score,
    "reward": reward,
    "strategic": strategic,
    "ucb": ucb,
}


def _from_here_on(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.cumsum(np.asarray(values, dtype=float)[::-1])[::-1].copy()
