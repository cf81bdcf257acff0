"""How well and how a player played: pure functions of trajectories.

Rewards and regrets are in reward units. The behavior of bandit players is measured as in Krishnamurthy et al. 2024 (Can
large language models explore in-context?), their section on identifying failures. That counts arms, so trajectories
of full-information games raise ``ValueError``. A round that was not played chooses no arm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rmft_verl.regret import uniform_regret
from rmft_verl.types import Trajectory

RESAMPLES = 2000
"""Bootstrap resamples: the Monte-Carlo error of a 2.5 % quantile is then about a tenth of the standard error."""


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval; ``low`` and ``high`` are NaN where one scenario was played."""

    value: float
    low: float
    high: float


# ---- behavior -------------------------------------------------------------------------------------------------------


def suffix_failure(trajectory: Trajectory, t: int | None = None) -> bool:
    """True if no best arm is chosen in rounds t..T, counted from 1; t is T // 2 by default (SuffFail).

    A best arm has the highest expected reward of its round; where several tie, each of them is best.
    """
    expected_T_A = trajectory.oracle.expected_T_A
    start = max(t if t is not None else trajectory.scenario.horizon // 2, 1) - 1
    suffix = list(enumerate(_arms_T(trajectory)))[start:]
    return not any(arm is not None and expected_T_A[i, arm] == expected_T_A[i].max() for i, arm in suffix)


def suffix_failure_frequency(trajectories: Sequence[Trajectory], t: int | None = None) -> float:
    """Share of the trajectories with a suffix failure, in [0, 1] (SuffFailFreq)."""
    return _share([suffix_failure(trajectory, t) for trajectory in trajectories])


def min_fraction(trajectory: Trajectory) -> float:
    """Fraction of the T rounds spent on the least-chosen arm, in [0, 1/K] (MinFrac)."""
    arms = [arm for arm in _arms_T(trajectory) if arm is not None]
    counts_A = np.bincount(np.array(arms, dtype=int), minlength=len(trajectory.scenario.actions))
    return float(counts_A.min() / trajectory.scenario.horizon)


def scaled_min_fraction(trajectories: Sequence[Trajectory]) -> float:
    """Mean of K x MinFrac, in [0, 1]: 1 if every arm is pulled equally often."""
    return float(np.mean([len(play.scenario.actions) * min_fraction(play) for play in trajectories]))


def greedy_choices(trajectory: Trajectory) -> list[bool]:
    """For each round played: whether the arm had the largest average reward so far.

    A pull of an arm never tried counts as greedy: with this convention the published rows come out, without it they are
    low by about K / T.
    """
    n_arms = len(trajectory.scenario.actions)
    counts, sums = [0] * n_arms, [0.0] * n_arms
    greedy: list[bool] = []
    for arm, reward in _pulls(trajectory):
        best = max((total / count for total, count in zip(sums, counts, strict=True) if count), default=-np.inf)
        greedy.append(counts[arm] == 0 or sums[arm] / counts[arm] == best)
        counts[arm] += 1
        sums[arm] += reward
    return greedy


def greedy_fraction(trajectories: Sequence[Trajectory]) -> float:
    """Share of the rounds played that were greedy, in [0, 1] (GreedyFrac); NaN if none was played."""
    return _share([choice for trajectory in trajectories for choice in greedy_choices(trajectory)])


def median_reward(trajectories: Sequence[Trajectory]) -> float:
    """Median over trajectories of the time-averaged drawn reward, rescaled: 0 the worst arm's mean, 1 the best's."""
    rescaled = []
    for trajectory in trajectories:
        expected_T_A = trajectory.oracle.expected_T_A
        worst, best = expected_T_A.min(axis=1).mean(), expected_T_A.max(axis=1).mean()
        rescaled.append((np.mean([reward for _, reward in _pulls(trajectory)]) - worst) / (best - worst))
    return float(np.median(rescaled))


def invalid_rate(trajectories: Sequence[Trajectory]) -> float:
    """Share of all replies that named no action, in [0, 1]; NaN if there was none."""
    return _share([not turn.parsed for trajectory in trajectories for turn in trajectory.turns])


def cut_rate(trajectories: Sequence[Trajectory]) -> float:
    """Share of all replies that ran into their token cap, in [0, 1]; NaN if there was none."""
    return _share([turn.cut for trajectory in trajectories for turn in trajectory.turns])


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if flags else float("nan")


def _pulls(trajectory: Trajectory) -> list[tuple[int, float]]:
    """(arm, drawn reward) of each round played."""
    rewards = [turn.reward for turn in trajectory.turns if turn.action is not None and turn.reward is not None]
    arms = [arm for arm in _arms_T(trajectory) if arm is not None]
    return list(zip(arms, rewards, strict=True))


def _arms_T(trajectory: Trajectory) -> list[int | None]:
    arms: list[int | None] = []
    for action in trajectory.actions_T:
        if isinstance(action, tuple):
            raise ValueError("this metric counts arms; the trajectory plays points of the simplex")
        arms.append(action)
    return arms


# ---- regret ---------------------------------------------------------------------------------------------------------


def mean_regret(trajectories: Sequence[Trajectory]) -> float:
    """Mean over scenarios of the regret, in reward units; unscored trajectories are left out."""
    return float(_regret_and_uniform_S(trajectories)[:, 0].mean())


def normalized_regret(trajectories: Sequence[Trajectory]) -> float:
    """Regret on the scale 0 = oracle, 1 = expected regret of uniform play on the same scenarios.

    The sum of the regrets over the sum of the uniform regrets, each scenario once. A mean of ratios would be ruled by
    scenarios whose arms are almost equal: they divide a small regret by a number near 0, though nothing is at stake in
    them. ``ValueError`` if no trajectory is scored or if all arms of all scenarios are equally good.
    """
    sums = _regret_and_uniform_S(trajectories).sum(axis=0)
    if sums[1] <= 0:
        raise ValueError("normalized regret is undefined: in every scenario all actions are equally good")
    return float(sums[0] / sums[1])


def normalized_regret_interval(trajectories: Sequence[Trajectory], seed: int = 0) -> Interval:
    """``normalized_regret`` with its interval over scenarios."""
    value = normalized_regret(trajectories)
    low, high = bootstrap(_regret_and_uniform_S(trajectories), lambda means: means[..., 0] / means[..., 1], seed)
    return Interval(value, float(low), float(high))


def relative_change(before: Sequence[Trajectory], after: Sequence[Trajectory], seed: int = 0) -> Interval:
    """normalized_regret(after) / normalized_regret(before) - 1, paired by scenario; -0.2 is 20 % less regret.

    ``ValueError`` unless both were played on the same scenarios. A scenario with no scored trajectory on one side is
    left out on both.
    """
    only = {play.scenario.id for play in before} ^ {play.scenario.id for play in after}
    if only:
        raise ValueError(f"cannot pair: {len(only)} scenarios were played before or after, but not both")
    by_id_before, by_id_after = _by_scenario(before), _by_scenario(after)
    pairs = [(by_id_before[key], by_id_after[key]) for key in by_id_before if key in by_id_after]
    if not pairs:
        raise ValueError("cannot pair: no scenario is scored both before and after")
    before_S = _regret_and_uniform_S([play for plays, _ in pairs for play in plays])
    after_S = _regret_and_uniform_S([play for _, plays in pairs for play in plays])

    def change(means: np.ndarray) -> np.ndarray:
        return np.asarray((means[..., 2] / means[..., 3]) / (means[..., 0] / means[..., 1]) - 1)

    values_S = np.concatenate([before_S, after_S], axis=1)
    low, high = bootstrap(values_S, change, seed)
    return Interval(float(change(values_S.mean(axis=0))), float(low), float(high))


def bootstrap(
    values_S: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of ``statistic(mean over scenarios of values_S)`` under resampling of whole scenarios.

    ``values_S``: shape (S, C), one row a scenario, its own episodes averaged already (they share a game, so they are no
    independent samples). ``statistic`` maps the last axis of (..., C). Returns (low, high), NaN if S is 1. Efron and
    Tibshirani 1993, chapter 13.
    """
    n_scenarios = len(values_S)
    rng = np.random.default_rng(seed)
    weights_B_S = rng.multinomial(n_scenarios, np.full(n_scenarios, 1 / n_scenarios), size=RESAMPLES) / n_scenarios
    low, high = np.quantile(statistic(weights_B_S @ values_S), (0.025, 0.975), axis=0)
    if n_scenarios == 1:  # every resample is the same one: its zero width says nothing
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high


def scored(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Those with a regret: all but the ones whose environment or player raised."""
    return [trajectory for trajectory in trajectories if trajectory.regret is not None]


def _by_scenario(trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in scored(trajectories):
        groups.setdefault(trajectory.scenario.id, []).append(trajectory)
    return groups


def _regret_and_uniform_S(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Mean regret and uniform regret of each scenario, in order of first appearance, shape (S, 2)."""
    rows = []
    for plays in _by_scenario(trajectories).values():
        regrets = [play.regret for play in plays if play.regret is not None]
        rows.append((np.mean(regrets), np.mean([uniform_regret(play.oracle) for play in plays])))
    if not rows:
        raise ValueError("no trajectory has a regret: every episode failed or none was scored")
    return np.array(rows, dtype=float)
