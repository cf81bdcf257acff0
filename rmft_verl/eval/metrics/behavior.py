"""Metrics of what a player chose; in bandits they count arms.

Suffix failures, MinFrac, GreedyFrac and MedianReward follow Krishnamurthy et al. 2024 (Can large language models
explore in-context?), section on identifying failures; action coverage follows Schmied et al. 2025 (LLMs are greedy
agents).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmft_verl.env.regret import REGRETS
from rmft_verl.eval.metrics.intervals import NO_INTERVAL, Interval, bootstrap
from rmft_verl.players.arms import TIE, leaders
from rmft_verl.types import Oracle, Trajectory


def suffix_failure(trajectory: Trajectory, t: int | None = None) -> bool:
    """True if no best arm is chosen in rounds t..T, counted from 1; t is T // 2 by default (SuffFail).

    A best arm has the highest expected reward of its round; all tied arms are best. ``ValueError`` for points of the
    simplex and for a t outside 1..T.
    """
    start = _index(trajectory, max(trajectory.scenario.horizon // 2, 1) if t is None else t)
    arms_T, best_T_A = arms_played(trajectory)[start:], _best_T_A(trajectory.oracle)[start:]
    played = arms_T >= 0
    return not best_T_A[played, arms_T[played]].any()


def suffix_failure_frequency(trajectories: Sequence[Trajectory], t: int | None = None) -> float:
    """Share of the bandit trajectories with a suffix failure, in [0, 1] (SuffFailFreq); NaN if there are none."""
    return _mean([suffix_failure(trajectory, t) for trajectory in bandits(trajectories)])


def suffix_failure_interval(trajectories: Sequence[Trajectory], seed: int = 0) -> Interval:
    """``suffix_failure_frequency`` with its 95 % bootstrap interval over scenarios; NaN without bandit trajectories.

    A scenario that was played more often counts as much as the others.
    """
    failures: dict[str, list[int]] = {}
    for trajectory in bandits(trajectories):
        failures.setdefault(trajectory.scenario.id, []).append(suffix_failure(trajectory))
    if not failures:
        return NO_INTERVAL
    values_S = np.array([[np.mean(several)] for several in failures.values()])
    low, high = bootstrap(values_S, lambda means: means[..., 0], seed)
    return Interval(float(values_S.mean()), float(low), float(high))


def min_fraction(trajectory: Trajectory) -> float:
    """Fraction of the T rounds spent on the least-chosen arm, in [0, 1/K] (MinFrac)."""
    arms_T = arms_played(trajectory)
    counts_A = np.bincount(arms_T[arms_T >= 0], minlength=len(trajectory.scenario.actions))
    return float(counts_A.min() / trajectory.scenario.horizon)


def scaled_min_fraction(trajectories: Sequence[Trajectory]) -> float:
    """Mean K x MinFrac of the bandit trajectories, in [0, 1]; 1 if all arms are pulled equally often; NaN if none."""
    return _mean([len(trajectory.scenario.actions) * min_fraction(trajectory) for trajectory in bandits(trajectories)])


def greedy_choices(trajectory: Trajectory) -> list[bool]:
    """For each round played: whether its arm had the largest average reward so far, or tied with it.

    The first pull of an arm counts as greedy. This convention reproduces the published rows; without it the shares are
    too low by about K / T.
    """
    n_arms = len(trajectory.scenario.actions)
    counts, sums = [0] * n_arms, [0.0] * n_arms
    greedy: list[bool] = []
    for arm, reward in pulls(trajectory):
        greedy.append(counts[arm] == 0 or arm in best_so_far(sums, counts))
        counts[arm] += 1
        sums[arm] += reward
    return greedy


def best_so_far(sums_A: Sequence[float], counts_A: Sequence[float]) -> list[int]:
    """Arms whose average is the largest or ties with it, from reward sums and pull counts; all if none was pulled."""
    return leaders([total / n if n else -np.inf for total, n in zip(sums_A, counts_A, strict=True)])


def greedy_fraction(trajectories: Sequence[Trajectory]) -> float:
    """Share of the bandit rounds played that were greedy, in [0, 1] (GreedyFrac); NaN if none was played."""
    return _mean([choice for trajectory in bandits(trajectories) for choice in greedy_choices(trajectory)])


def median_reward(trajectories: Sequence[Trajectory]) -> float:
    """Median over bandit trajectories of the mean drawn reward, rescaled: 0 is the worst arm's mean, 1 the best's.

    If the arms drift, worst and best are those of each round played. Trajectories without a round, or whose arms are
    all equally good, have no such scale and are left out; NaN if none remains.
    """
    rescaled = []
    for trajectory in bandits(trajectories):
        rewards = [reward for _, reward in pulls(trajectory)]
        expected_T_A = trajectory.oracle.expected_T_A[: len(rewards)]
        worst, best = (float(bound_T.sum()) for bound_T in (expected_T_A.min(axis=1), expected_T_A.max(axis=1)))
        if best - worst > TIE:
            rescaled.append((sum(rewards) - worst) / (best - worst))
    return float(np.median(rescaled)) if rescaled else float("nan")


def coverage_curve(trajectory: Trajectory) -> np.ndarray:
    """Fraction of the K arms tried by the end of each round, shape (T,), in [0, 1], non-decreasing (C_t)."""
    tried_T_A = arms_played(trajectory)[:, None] == np.arange(len(trajectory.scenario.actions))
    return np.asarray(np.logical_or.accumulate(tried_T_A, axis=0).mean(axis=1))


def action_coverage(trajectories: Sequence[Trajectory], t: int | None = None) -> float:
    """Mean over bandit trajectories of the fraction of arms tried by round t (T by default), in [0, 1]; NaN if none.

    Schmied et al. 2025 measure greediness by low coverage. ``ValueError`` for a t outside 1..T.
    """
    games = bandits(trajectories)
    return _mean([coverage_curve(p)[_index(p, p.scenario.horizon if t is None else t)] for p in games])


def best_arm_mass(trajectory: Trajectory) -> np.ndarray:
    """Probability put on the best action in each round, shape (T,): 0 or 1 for an arm, 0 for a round not played.

    The best action has the highest expected reward of the round or, under external regret, the highest total over all
    rounds. The masses of tied actions are added.
    """
    best_T_A = _best_T_A(trajectory.oracle)
    mass_T = np.zeros(trajectory.scenario.horizon)
    for t, action in enumerate(trajectory.actions_T):
        if isinstance(action, tuple):
            mass_T[t] = np.asarray(action)[best_T_A[t]].sum()
        elif action is not None:
            mass_T[t] = best_T_A[t, action]
    return mass_T


def best_arm_frequency(trajectories: Sequence[Trajectory]) -> float:
    """Mean of ``best_arm_mass`` over trajectories and rounds, in [0, 1]; in bandits the share of rounds on a best arm.

    For bandits and full-information games alike; NaN if no truth is known.
    """
    return _mean(
        [float(best_arm_mass(trajectory).mean()) for trajectory in trajectories if trajectory.oracle.kind in REGRETS]
    )


def invalid_rate(trajectories: Sequence[Trajectory]) -> float:
    """Share of all replies that named no action, in [0, 1]; NaN if there was none."""
    return _mean([not turn.parsed for trajectory in trajectories for turn in trajectory.turns])


def cut_rate(trajectories: Sequence[Trajectory]) -> float:
    """Share of all replies that reached their token cap, in [0, 1]; NaN if there was none."""
    return _mean([turn.cut for trajectory in trajectories for turn in trajectory.turns])


def bandits(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The bandit trajectories with a known truth: no points of the simplex, no failed environment.

    A trajectory without an action is classified by its regret: external regret means full information.
    """

    def counts(trajectory: Trajectory) -> bool:
        first = trajectory.actions_T[0]
        arms = trajectory.oracle.kind != "external" if first is None else not isinstance(first, tuple)
        return arms and trajectory.oracle.kind in REGRETS

    return [trajectory for trajectory in trajectories if counts(trajectory)]


def pulls(trajectory: Trajectory) -> list[tuple[int, float]]:
    """(arm, drawn reward) of each round played; ``ValueError`` for points of the simplex."""
    rewards = [turn.reward for turn in trajectory.turns if turn.action is not None and turn.reward is not None]
    arms = [int(arm) for arm in arms_played(trajectory) if arm >= 0]
    return list(zip(arms, rewards, strict=True))


def arms_played(trajectory: Trajectory) -> np.ndarray:
    """The arm of each round, -1 where none was played, shape (T,); ``ValueError`` for points of the simplex."""
    arms: list[int] = []
    for action in trajectory.actions_T:
        if isinstance(action, tuple):
            raise ValueError("this metric counts arms; the trajectory plays points of the simplex")
        arms.append(-1 if action is None else action)
    return np.array(arms, dtype=int)


def _best_T_A(oracle: Oracle) -> np.ndarray:
    """Whether each action is a best one by the rule of ``best_arm_mass``, shape (T, A)."""
    expected_T_A = oracle.expected_T_A
    if oracle.kind != "external":
        return np.asarray(expected_T_A >= expected_T_A.max(axis=1, keepdims=True) - TIE)
    totals_A = expected_T_A.sum(axis=0)
    return np.tile(totals_A >= totals_A.max() - TIE, (len(expected_T_A), 1))


def _index(trajectory: Trajectory, t: int) -> int:
    if not 1 <= t <= trajectory.scenario.horizon:
        raise ValueError(f"t={t} is no round of a game of {trajectory.scenario.horizon}: use 1 to its horizon")
    return t - 1


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
