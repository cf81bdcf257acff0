"""What plays are ranked by when some are kept: one small function each, lower is better (docs/selection.md).

A score is a function of a stored trajectory, the scenario generator of its run and the settings: a run is ranked again
years later without a model.
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
"""Decimals of a score: plays that differ by less are equal, whatever the rounding of their sums."""

PATHS = 2000
"""Particles of a posterior over drifting means; the plays of a scenario share them, so most of their error cancels."""


@dataclass
class Scorer:
    """Scores the plays of one environment by the name ``score``; see ``SCORES`` for the names.

    ``further``: rounds of the continuation, in horizons (``posterior`` only).
    """

    score: str
    generator: Any
    """The environment's scenario sampler, with the options of the run."""
    further: float = 0.0
    _paths: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, played: Sequence[Trajectory], rng: np.random.Generator) -> list[Scored]:
        """The valid plays of ``played`` with their scores, in reward units; only ``random`` draws from ``rng``."""
        valid = [(i, play) for i, play in enumerate(played) if play.valid and play.regret is not None]
        return [Scored(play, round(SCORES[self.score](self, play, rng), ROUNDING), i) for i, play in valid]

    def paths_P_T_A(self, scenario: Scenario) -> np.ndarray:
        """Means of ``PATHS`` other games that a player of ``scenario`` could be in, shape (P, T, A)."""
        if scenario.id not in self._paths:
            rng = np.random.default_rng(int(scenario.id, 16))
            draws = [self.generator.draw_means(scenario, rng) for _ in range(PATHS)]
            self._paths = {scenario.id: np.array(draws)}  # one scenario after another: only the last is worth keeping
        return self._paths[scenario.id]


def regret(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """The true regret, which the trainer knows afterwards: the score of RMFT (Park et al. 2026, Alg. 1)."""
    assert trajectory.regret is not None
    return trajectory.regret


def reward(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """Minus the sum of the rewards drawn, as they fell: the reward filter, which keeps lucky draws."""
    return -sum(turn.reward for turn in trajectory.turns if turn.reward is not None)


def posterior_regret(scorer: Scorer, trajectory: Trajectory, rng: np.random.Generator) -> float:
    """Regret expected from what the player had seen, with the continuation; the true regret in full information.

    Where all rewards are revealed the play decides nothing that the player sees: there is no such luck to remove.
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
    """A number drawn without looking: the control of every claim about selection."""
    return float(rng.random())


SCORES: dict[str, Callable[[Scorer, Trajectory, np.random.Generator], float]] = {
    "regret": regret,
    "reward": reward,
    "posterior": posterior_regret,
    "random": random,
}
