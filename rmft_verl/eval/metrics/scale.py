"""Regret of sets of trajectories: mean, curve, normalized (0 oracle, 1 uniform play), and change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmft_verl.env.regret import regret_curve, uniform_regret
from rmft_verl.eval.metrics.intervals import Band, Interval, bootstrap, ratio
from rmft_verl.types import Trajectory

ROUNDING = 1e-9
"""A mean uniform regret below this many reward units is rounding error: all actions are equally good."""


def scored(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The trajectories with a regret: all except those whose environment or player raised."""
    return [trajectory for trajectory in trajectories if trajectory.regret is not None]


def mean_regret(trajectories: Sequence[Trajectory]) -> float:
    """Mean over scenarios of the regret, in reward units; unscored trajectories are left out."""
    return float(_regret_and_uniform_S(trajectories)[:, 0].mean())


def normalized_regret(trajectories: Sequence[Trajectory]) -> float:
    """Regret on the scale 0 = oracle, 1 = expected regret of uniform play on the same scenarios.

    It is the sum of the regrets over the sum of the uniform regrets, each scenario once. A mean of ratios would be
    dominated by scenarios whose actions are almost equal: they divide a small regret by a number near 0, though nothing
    is at stake in them. External regret compares with the best fixed action, so a player that switches well is below 0.
    If no action is better than another over the game (only alternating or gapless sequences), uniform play's regret is
    near 0 and the values are large and unstable; ``mean_regret`` is not.
    ``ValueError`` if no trajectory is scored or if uniform play has no regret in any scenario.
    """
    regret, uniform = _regret_and_uniform_S(trajectories).mean(axis=0)
    return float(regret / _positive(uniform))


def normalized_regret_interval(trajectories: Sequence[Trajectory], seed: int = 0) -> Interval:
    """``normalized_regret`` with its interval over scenarios."""
    value = normalized_regret(trajectories)
    low, high = bootstrap(_regret_and_uniform_S(trajectories), normalized_of_means, seed)
    return Interval(value, float(low), float(high))


def relative_change(before: Sequence[Trajectory], after: Sequence[Trajectory], seed: int = 0) -> Interval:
    """normalized_regret(after) / normalized_regret(before) - 1, paired by scenario; -0.2 is 20 % less regret.

    ``ValueError`` unless both were played on the same scenarios and the regret before is above 0. A scenario without
    a scored trajectory on one side is left out of both.
    """
    values_S = _paired_S(before, after)
    earlier = float(normalized_of_means(values_S.mean(axis=0)))
    if earlier <= 0:
        raise ValueError(
            f"relative change is undefined: normalized regret before is {earlier:.3g}, not above 0. "
            "Use absolute_change, which needs no such scale"
        )

    def change(means: np.ndarray) -> np.ndarray:
        return np.asarray(ratio(normalized_of_means(means[..., 2:]), normalized_of_means(means[..., :2])) - 1)

    low, high = bootstrap(values_S, change, seed)
    return Interval(float(change(values_S.mean(axis=0))), float(low), float(high))


def absolute_change(before: Sequence[Trajectory], after: Sequence[Trajectory], seed: int = 0) -> Interval:
    """normalized_regret(after) - normalized_regret(before), paired by scenario as in ``relative_change``.

    It is defined for any sign of the regret; good players bring external regret near or below 0.
    """
    values_S = _paired_S(before, after)

    def change(means: np.ndarray) -> np.ndarray:
        return np.asarray(normalized_of_means(means[..., 2:]) - normalized_of_means(means[..., :2]))

    low, high = bootstrap(values_S, change, seed)
    return Interval(float(change(values_S.mean(axis=0))), float(low), float(high))


def regret_band(trajectories: Sequence[Trajectory], seed: int = 0) -> Band:
    """Cumulative regret after each round, mean over scenarios, with its pointwise interval; in reward units.

    ``ValueError`` if no trajectory is scored or if the horizons differ.
    """
    curves_S_T = regret_curves_S_T(trajectories)
    return Band(curves_S_T.mean(axis=0), *bootstrap(curves_S_T, np.asarray, seed))


def regret_curves_S_T(trajectories: Sequence[Trajectory], uniform: bool = False) -> np.ndarray:
    """Each scenario's mean cumulative regret, or that of uniform play if ``uniform``, shape (S, T)."""
    groups = _by_scenario(trajectories)
    horizons = sorted({group[0].scenario.horizon for group in groups})
    if len(horizons) > 1:
        raise ValueError(f"no mean curve over horizons {', '.join(map(str, horizons))}: give scenarios of one horizon")
    idle_T = (None,) * horizons[0]
    return np.array(
        [
            np.mean([regret_curve(p.oracle, idle_T if uniform else p.actions_T) for p in group], axis=0)
            for group in groups
        ]
    )


def normalized_of_means(means: np.ndarray) -> np.ndarray:
    """Regret divided by uniform play's regret, both on the last axis of (..., 2); NaN where uniform play has none."""
    return ratio(means[..., 0], np.where(means[..., 1] > ROUNDING, means[..., 1], 0.0))


def _positive(uniform: float) -> float:
    if uniform <= ROUNDING:
        raise ValueError(
            "normalized regret is undefined: uniform play has no regret in any scenario, so all actions are equally "
            "good. Use mean_regret, or scenarios in which one action is better"
        )
    return uniform


def _by_scenario(trajectories: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """The scored trajectories of each scenario, in order of first appearance; ``ValueError`` if there is none."""
    groups = _by_id(trajectories)
    if not groups:
        raise ValueError("no trajectory has a regret: every episode failed or none was scored")
    return list(groups.values())


def _by_id(trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in scored(trajectories):
        groups.setdefault(trajectory.scenario.id, []).append(trajectory)
    return groups


def _regret_and_uniform_S(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Mean regret and uniform regret of each scenario, in order of first appearance, shape (S, 2)."""
    rows = []
    for group in _by_scenario(trajectories):
        regrets = [trajectory.regret for trajectory in group if trajectory.regret is not None]
        rows.append((np.mean(regrets), np.mean([uniform_regret(trajectory.oracle) for trajectory in group])))
    return np.array(rows, dtype=float)


def _paired_S(before: Sequence[Trajectory], after: Sequence[Trajectory]) -> np.ndarray:
    """Regret and uniform regret before, then after, for each scenario scored on both sides, shape (S, 4)."""
    only = {trajectory.scenario.id for trajectory in before} ^ {trajectory.scenario.id for trajectory in after}
    if only:
        raise ValueError(f"cannot pair: {len(only)} scenarios were played before or after, but not both")
    by_id_before, by_id_after = _by_id(before), _by_id(after)
    pairs = [(by_id_before[key], by_id_after[key]) for key in by_id_before if key in by_id_after]
    if not pairs:
        raise ValueError("cannot pair: no scenario is scored both before and after")
    values_S = np.concatenate(
        [_regret_and_uniform_S([trajectory for pair in pairs for trajectory in pair[side]]) for side in (0, 1)], axis=1
    )
    for uniform in values_S[:, (1, 3)].mean(axis=0):
        _positive(uniform)
    return np.asarray(values_S)
