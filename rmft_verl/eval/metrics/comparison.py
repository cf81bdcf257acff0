"""Pairwise win rates of players (Nie et al. 2025, EVOLvE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from rmft_verl.eval.metrics.scale import scored
from rmft_verl.types import Trajectory

SIGNIFICANCE = 0.05
"""Two-sided level of one comparison, not corrected for the number of comparisons, as in EVOLvE."""


class WinRate(NamedTuple):
    """Shares of a player's comparisons, in [0, 1], summing to 1. The win rate is ``wins``: a tie is no win."""

    wins: float
    ties: float
    losses: float


def win_rates(configurations: Sequence[Mapping[str, Sequence[Trajectory]]]) -> dict[str, WinRate]:
    """Each player's win rate over all pairs of players in all configurations.

    A configuration maps each player to its runs of one law of games (one suite: K, gap, reward law, horizon). A player
    wins if its mean cumulative reward is higher and Welch's t-test over the runs has p < 0.05; else it is a tie.
    ``ValueError`` if a configuration has fewer than two players, or a player with fewer than two scored runs.
    """
    outcomes: dict[str, list[int]] = {}
    for sets in configurations:
        if len(sets) < 2:
            raise ValueError(f"win rates compare players; a configuration has {len(sets)}: give at least two")
        rewards = {name: _run_rewards(name, trajectories) for name, trajectories in sets.items()}
        for a, b in combinations(sets, 2):
            outcome = compare(rewards[a], rewards[b])
            outcomes.setdefault(a, []).append(outcome)
            outcomes.setdefault(b, []).append(-outcome)
    return {
        name: WinRate(*(float(np.mean([result == outcome for result in results])) for outcome in (1, 0, -1)))
        for name, results in outcomes.items()
    }


def compare(a: np.ndarray, b: np.ndarray) -> int:
    """1 if the mean of ``a`` is significantly higher, -1 if that of ``b`` is, 0 for a tie; both of shape (N,)."""
    from scipy import stats

    difference = a.mean() - b.mean()
    if a.std() == 0 and b.std() == 0:  # no variance to test against: any difference is certain
        return int(np.sign(difference))
    return int(np.sign(difference)) if stats.ttest_ind(a, b, equal_var=False).pvalue < SIGNIFICANCE else 0


def cumulative_reward(trajectory: Trajectory) -> float:
    """Sum of the drawn rewards, in reward units; a round not played counts as uniform play, as in regret."""
    paid = [turn.reward for turn in trajectory.turns if turn.action is not None and turn.reward is not None]
    return float(sum(paid) + trajectory.oracle.expected_T_A[len(paid) :].mean(axis=1).sum())


def _run_rewards(name: str, trajectories: Sequence[Trajectory]) -> np.ndarray:
    rewards = np.array([cumulative_reward(trajectory) for trajectory in scored(trajectories)])
    if len(rewards) < 2:
        raise ValueError(f"win rates test runs; {name} has {len(rewards)} scored: give at least two")
    return rewards
