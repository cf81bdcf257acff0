"""The scores that rank trajectories for selection, one small function each; lower is better (docs/selection.md).

A score depends on a stored trajectory, the scenario generator of its run and the settings, so a run can be ranked again
later without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rmft_verl.algo import posterior
from rmft_verl.algo.posterior import Prior
from rmft_verl.types import Scenario, Scored, Trajectory

ROUNDING = 9
"""Decimals of a score: smaller differences count as ties, because sums of floats are rounded."""

PATHS = 2000
"""Particles of a posterior over drifting means. A scenario's trajectories share them, so most of the error cancels."""


@dataclass
class Scorer:
    """Scores the trajectories of one environment by the function ``SCORES[score]``.

    ``further``: length of the continuation, in horizons (``posterior`` only).
    """

    score: str
    generator: Any
    """The environment's Generator, with the options of the run."""
    further: float = 0.0
    _paths: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, played: Sequence[Trajectory], rng: np.random.Generator) -> list[Scored]:
        """The valid ones of ``played`` with their scores, in reward units; only ``random`` draws from ``rng``."""
        valid = [
            (i, trajectory) for i, trajectory in enumerate(played) if trajectory.valid and trajectory.regret is not None
        ]
        return [
            Scored(trajectory, round(SCORES[self.score](self, trajectory, rng), ROUNDING), i) for i, trajectory in valid
        ]

    def paths_P_T_A(self, scenario: Scenario) -> np.ndarray:
        """Means of ``PATHS`` other games that are possible for a player of ``scenario``, shape (P, T, A)."""
        if scenario.id not in self._paths:
            rng = np.random.default_rng(int(scenario.id, 16))
            draws = [self.generator.draw_means(scenario, rng) for _ in range(PATHS)]
            self._paths = {scenario.id: np.array(draws)}  # scenarios come one after another, so only the last is kept
        return self._paths[scenario.id]


def regret(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """The true regret, which is known after the episode: the score of RMFT (Park et al. 2026, Alg. 1)."""
    assert trajectory.regret is not None
    return trajectory.regret


def reward(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """Minus the sum of the drawn rewards: the reward filter, which keeps lucky draws."""
    return -sum(turn.reward for turn in trajectory.turns if turn.reward is not None)


def posterior_regret(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """Expected regret given what the player had seen, with the continuation; the true regret in full information.

    If all rewards are revealed, actions do not decide what the player sees, so there is no such luck to remove.
    """
    if trajectory.oracle.kind == "external":
        return regret(scorer, trajectory, rng)
    scenario = trajectory.scenario
    prior, rounds = Prior(**scorer.generator.prior(scenario)), scorer.further * scenario.horizon
    if prior.drifts:
        estimate = posterior.score_by_particles(trajectory, prior, scorer.paths_P_T_A(scenario), rounds)
        assert estimate is not None
        return estimate.score
    value = posterior.score(trajectory, prior, rounds)
    assert value is not None
    return value


def random(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """A random number: the control for every claim about selection."""
    return float(rng.random())


SCORES: dict[str, Callable[[Scorer, Trajectory, np.random.Generator], float]] = {
    "regret": regret,
    "reward": reward,
    "posterior": posterior_regret,
    "random": random,
}
