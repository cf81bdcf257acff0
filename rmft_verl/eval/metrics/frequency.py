"""Frequency bias: choosing the most frequent arm, not the best one (Schmied et al. 2025, LLMs are greedy agents).

Schmied et al. ask for the next action after histories that repeat the last action more and more often. Here the
histories are those that were played, so any evaluation can be measured. Only rounds in which the two habits differ are
counted: if the most frequent arm also has the best average, choosing it shows neither habit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rmft_verl.eval.metrics.behavior import arms_played, bandits, best_so_far, pulls
from rmft_verl.players.arms import leaders
from rmft_verl.types import Trajectory


class FrequencyBias(NamedTuple):
    """Choices by the number of repeats of the last action: arrays of shape (R,) whose index r is r repeats.

    Shares lie in [0, 1] and sum to 1; NaN where no round was counted.
    """

    rounds_R: np.ndarray
    """Number of rounds counted: those in which no arm is both most frequent and best on average so far."""
    frequent_R: np.ndarray
    """Share that chose a most frequent arm so far."""
    greedy_R: np.ndarray
    """Share that chose an arm with the best average so far."""
    other_R: np.ndarray
    """Share that chose another arm, tried or not."""
    entropy_R: np.ndarray
    """Entropy in nats of the arm chosen within a scenario, averaged over the rounds counted; too low if few rounds of a
    scenario are counted (0 for one)."""


def frequency_bias(trajectories: Sequence[Trajectory]) -> FrequencyBias:
    """The frequency bias of the bandit trajectories.

    0 repeats: the last arm differs from the one before it, or is the first. The arrays are as long as the longest run
    of one arm before a later round; they are empty if no bandit round follows another.
    """
    kinds: dict[int, list[int]] = {}
    chosen: dict[int, dict[str, list[int]]] = {}
    longest = 0
    for trajectory in bandits(trajectories):
        for repeats, kind, arm in _conflicts(trajectory):
            kinds.setdefault(repeats, []).append(kind)
            chosen.setdefault(repeats, {}).setdefault(trajectory.scenario.id, []).append(arm)
        longest = max(longest, *_run_lengths(trajectory), 0)
    shares_R = np.full((longest, 3), np.nan)
    entropy_R, rounds_R = np.full(longest, np.nan), np.zeros(longest, dtype=int)
    for r, found in kinds.items():
        rounds_R[r] = len(found)
        shares_R[r] = np.bincount(found, minlength=3) / len(found)
        entropy_R[r] = sum(len(arms) * _entropy(np.bincount(arms)) for arms in chosen[r].values()) / len(found)
    frequent_R, greedy_R, other_R = shares_R.T
    return FrequencyBias(rounds_R, frequent_R, greedy_R, other_R, entropy_R)


def action_entropy(trajectories: Sequence[Trajectory]) -> float:
    """Mean over bandit trajectories of (entropy of the arms chosen) / log K, in [0, 1]; NaN if no round was played.

    1 if all arms are chosen equally often, 0 if only one arm is chosen.
    """
    values = []
    for trajectory in bandits(trajectories):
        arms_T, n_arms = arms_played(trajectory), len(trajectory.scenario.actions)
        if arms_T[0] >= 0 and n_arms > 1:
            values.append(_entropy(np.bincount(arms_T[arms_T >= 0])) / np.log(n_arms))
    return float(np.mean(values)) if values else float("nan")


def first_action_entropy(trajectories: Sequence[Trajectory]) -> float:
    """Entropy of the first action over trajectories / log K, in [0, 1]; NaN if none was played.

    Actions are told apart by their place in the list that the player reads. 1 if every place is as likely, 0 if a
    player always begins with the same one. Points of the simplex are averaged. Trajectories with another K are counted
    apart, and the values averaged over trajectories.
    """
    policies: dict[int, list[np.ndarray]] = {}
    for trajectory in trajectories:
        first, n_actions = trajectory.actions_T[0], len(trajectory.scenario.actions)
        if first is not None and n_actions > 1:
            point_A = np.array(first) if isinstance(first, tuple) else np.arange(n_actions) == first
            policies.setdefault(n_actions, []).append(point_A)
    found = [(len(points), _entropy(np.mean(points, axis=0)) / np.log(k)) for k, points in policies.items()]
    return sum(n * value for n, value in found) / sum(n for n, _ in found) if found else float("nan")


FREQUENT, GREEDY, OTHER = range(3)


def _conflicts(trajectory: Trajectory) -> Iterator[tuple[int, int, int]]:
    """(repeats of the last action, kind of choice, arm) of each round in which no arm is both frequent and greedy."""
    n_arms = len(trajectory.scenario.actions)
    counts_A, sums_A = [0.0] * n_arms, [0.0] * n_arms
    last, run = -1, 0
    for arm, reward in pulls(trajectory):
        if run:
            frequent, greedy = leaders(counts_A), best_so_far(sums_A, counts_A)
            if not set(frequent) & set(greedy):
                yield run - 1, FREQUENT if arm in frequent else GREEDY if arm in greedy else OTHER, arm
        run = run + 1 if arm == last else 1
        last = arm
        counts_A[arm] += 1
        sums_A[arm] += reward


def _run_lengths(trajectory: Trajectory) -> list[int]:
    """For each round but the last: how many times in a row its arm has been chosen up to then."""
    lengths, last, run = [], -1, 0
    for arm, _ in pulls(trajectory)[:-1]:
        run = run + 1 if arm == last else 1
        last = arm
        lengths.append(run)
    return lengths


def _entropy(counts_A: np.ndarray) -> float:
    """Entropy in nats of the distribution proportional to the counts."""
    shares = counts_A[counts_A > 0] / counts_A.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0  # + 0.0: no minus zero
