"""The scores that rank trajectories for selection, one small function each; lower is better (docs/selection.md).

A score depends on a stored trajectory, the scenario generator of its run and the settings, so a run can be ranked again
later without a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rmft_verl.algo import linear, posterior
from rmft_verl.algo.linear import LinearPrior, prior_of
from rmft_verl.algo.posterior import Prior
from rmft_verl.types import Scenario, Scored, Trajectory

ROUNDING = 9
"""Decimals of a score: smaller differences count as ties, because sums of floats are rounded."""

PATHS, MOST_PATHS = 2_000, 64_000
"""Particles of a posterior over drifting means: at first, and at most. All trajectories use the first ones of the same
paths, so most of the error cancels in a ranking."""

ENOUGH = 200.0
"""Effective particles that a score should rest on: its own error is then about 7 % of the posterior's deviation."""


@dataclass
class Scorer:
    """Scores the trajectories of one environment by the function ``SCORES[score]``.

    ``further``: length of the continuation, in horizons (``posterior`` only).
    """

    score: str
    generator: Any
    """The environment's Generator, with the options of the run."""
    further: float = 0.0
    effective: list[float] = field(default_factory=list)
    """The effective particles of each score of the last call that rests on particles (``posterior.Estimate``)."""
    _paths: dict[tuple[object, ...], np.ndarray] = field(default_factory=dict)

    def __call__(self, played: Sequence[Trajectory], rng: np.random.Generator) -> list[Scored]:
        """The valid ones of ``played`` with their scores, in reward units; only ``random`` draws from ``rng``."""
        valid = [
            (i, trajectory) for i, trajectory in enumerate(played) if trajectory.valid and trajectory.regret is not None
        ]
        self.effective = []
        return [
            Scored(trajectory, round(SCORES[self.score](self, trajectory, rng), ROUNDING), i) for i, trajectory in valid
        ]

    def paths_P_T_A(self, scenario: Scenario, count: int = PATHS) -> np.ndarray:
        """Means of ``count`` other games that are possible for a player of ``scenario``, shape (P, T, A).

        Scenarios of one size and prior share them, because drawing them takes most of the time.
        """
        size = scenario.horizon, len(scenario.actions)
        key = (scenario.env, *size, *sorted(self.generator.prior(scenario).items()))
        known = self._paths.get(key, np.empty((0, *size)))
        if len(known) < count:
            starts = range(len(known), count, PATHS)  # a seed per block, so that the order of requests changes nothing
            self._paths[key] = known = np.concatenate([known, *(self._block(scenario, start) for start in starts)])
        return known[:count]

    def _block(self, scenario: Scenario, start: int) -> np.ndarray:
        rng = np.random.default_rng([start, scenario.horizon, len(scenario.actions)])
        return np.array([self.generator.draw_means(scenario, rng) for _ in range(PATHS)])

    def by_particles(self, trajectory: Trajectory, prior: Prior, rounds: float) -> float:
        """Posterior regret from as many paths as give ``ENOUGH`` effective ones, ``MOST_PATHS`` at most."""
        count = PATHS
        while True:
            paths_P_T_A = self.paths_P_T_A(trajectory.scenario, count)
            estimate = posterior.score_by_particles(trajectory, prior, paths_P_T_A, rounds)
            assert estimate is not None
            if estimate.effective >= ENOUGH or count == MOST_PATHS:
                self.effective.append(estimate.effective)
                return estimate.score
            wanted = 2 ** math.ceil(math.log2(ENOUGH / estimate.effective))  # effective ones grow with all of them
            count = min(count * wanted, MOST_PATHS)


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
    prior, rounds = prior_of(scorer.generator, scenario), scorer.further * scenario.horizon
    if isinstance(prior, LinearPrior):
        value = linear.score(trajectory, prior, rounds)
    elif prior.drifts:
        return scorer.by_particles(trajectory, prior, rounds)
    else:
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
