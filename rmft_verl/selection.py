"""Which trajectories are trained on: group, score, keep. Pure functions of data; the config only names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rmft_verl.types import Trajectory, TrajectoryGroup

GROUP_KEYS: dict[str, Callable[[Trajectory], str]] = {
    "scenario": lambda trajectory: trajectory.scenario.id,
    "instance": lambda trajectory: trajectory.scenario.instance_id,
    "all": lambda trajectory: "all",
}
"""What is compared with what: rollouts of one scenario (game and words), of one hidden game, or all of them."""


def group(trajectories: Sequence[Trajectory], by: str) -> list[TrajectoryGroup]:
    """Trajectories grouped by ``GROUP_KEYS[by]``, in order of first appearance."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(GROUP_KEYS[by](trajectory), []).append(trajectory)
    return [TrajectoryGroup(key, tuple(members)) for key, members in groups.items()]


def lowest_regret(candidates: Sequence[Trajectory], keep: int, rng: np.random.Generator) -> list[Trajectory]:
    """The ``keep`` trajectories of lowest regret, ties broken by ``rng``: the rule of RMFT (Park et al. 2026, Alg. 1).

    Keeping few copies luck: see docs/selection.md.
    """
    regrets = [trajectory.regret for trajectory in candidates]
    if any(regret is None for regret in regrets):
        raise ValueError("a trajectory without a regret cannot be ranked")
    order = np.lexsort((rng.random(len(candidates)), np.array(regrets, dtype=float)))
    return [candidates[i] for i in order[:keep]]


def random_k(candidates: Sequence[Trajectory], keep: int, rng: np.random.Generator) -> list[Trajectory]:
    """``keep`` trajectories drawn without looking: the control of every claim about selection."""
    return [candidates[i] for i in rng.permutation(len(candidates))[:keep]]


RULES: dict[str, Callable[[Sequence[Trajectory], int, np.random.Generator], list[Trajectory]]] = {
    "lowest_regret": lowest_regret,
    "random": random_k,
}


def select(
    trajectories: Sequence[Trajectory], *, rule: str, keep: int, by: str, rng: np.random.Generator
) -> list[Trajectory]:
    """The kept trajectories: ``keep`` per scenario, all of them valid and scored.

    Grouped by scenario each group gives at most ``keep``; a wider group gives ``keep`` for each scenario in it. A group
    with fewer valid trajectories gives what it has.
    """
    kept: list[Trajectory] = []
    for members in group(trajectories, by):
        n_scenarios = len({trajectory.scenario.id for trajectory in members.trajectories_G})
        valid = [t for t in members.trajectories_G if t.valid and t.regret is not None]
        kept += RULES[rule](valid, keep * n_scenarios, rng)
    return kept
