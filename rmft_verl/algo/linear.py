"""Posterior regret in contextual bandits with linear means, Gaussian weights and Gaussian rewards.

    sum_t E[ max_a w_a' x_t - w_{a_t}' x_t | h_t ]  +  H mean_x ( E[ max_a w_a' x | h_T ] - max_a E[ w_a' x | h_T ] )

h_t are the actions, contexts and rewards before round t. The weights are independently N(0, scale^2 I), so each arm's
posterior is the normal law of ridge regression, and the means of the arms in a context are independent normals. The
continuation averages over the contexts of the game. All values are in reward units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rmft_verl.algo import posterior
from rmft_verl.algo.posterior import Prior
from rmft_verl.env.ridge import RidgeArms
from rmft_verl.types import Scenario, Trajectory

LAW = "linear"

REACH, STEP = 9.0, 0.5
"""Grid of the integral for the best mean: how far it reaches, in deviations of each arm, and its step in those of the
narrowest arm. Halving the step changes nothing above 1e-12."""

_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class LinearPrior:
    """Means <w_a, x_t> with all weights independently N(0, ``scale``^2). ``ValueError`` for what is no such law."""

    law: str
    contexts: Sequence[Sequence[float]]
    """The contexts of the game, shape (T, F), which every player is shown."""
    scale: float
    noise: float
    """Standard deviation of a Gaussian reward."""
    drifts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("scale", "noise"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: a linear prior needs a standard deviation above 0")

    @property
    def contexts_T_F(self) -> np.ndarray:
        return np.array(self.contexts, dtype=float)


def prior_of(generator: Any, scenario: Scenario) -> Prior | LinearPrior:
    """What a generator says is known of a scenario's means beforehand.

    ``AttributeError`` without a ``prior``, ``TypeError`` for other keywords, ``ValueError`` for values without a law.
    """
    told = dict(generator.prior(scenario))
    return LinearPrior(**told) if told.get("law") == LAW else Prior(**told)


def score(trajectory: Trajectory, prior: LinearPrior, further: float = 0.0) -> float | None:
    """Posterior regret of a trajectory, with the continuation over ``further`` rounds; None if the episode failed.

    As in ``regret``, rounds without an action count as uniform play.
    """
    if trajectory.oracle.kind == "none":
        return None
    actions_T, rewards_T = posterior.history(trajectory)
    contexts_T_F, n_actions = prior.contexts_T_F, len(trajectory.scenario.actions)
    arms = RidgeArms(n_actions, contexts_T_F.shape[1], ridge=(prior.noise / prior.scale) ** 2)
    regret = 0.0
    for action, context_F, reward in zip(actions_T.tolist(), contexts_T_F, rewards_T.tolist(), strict=True):
        best, means_A = beliefs(arms, context_F, prior.noise)
        regret += best - float(means_A.mean() if action < 0 else means_A[action])
        if action >= 0:
            arms.add(action, context_F, reward)
    if further:
        doubts = [best - means_A.max() for best, means_A in (beliefs(arms, x_F, prior.noise) for x_F in contexts_T_F)]
        regret += further * float(np.mean(doubts))
    return regret


def beliefs(arms: RidgeArms, context_F: np.ndarray, noise: float) -> tuple[float, np.ndarray]:
    """E[max_a w_a' x | h] and E[w_a' x | h], shape (A,)."""
    means_A = arms.means_A(context_F)
    return expected_max(means_A, noise * arms.widths_A(context_F)), means_A


def expected_max(means_A: np.ndarray, deviations_A: np.ndarray) -> float:
    """E[max_a Y_a] of independent Y_a ~ N(mean_a, deviation_a^2); deviations below 1/1000 of the largest count as that.

    The integral of y sum_a f_a(y) prod_{j != a} F_j(y) by the trapezoidal rule. For smooth functions that vanish at
    both ends its error falls faster than any power of the step.
    """
    most = float(deviations_A.max())
    if most <= 0:
        return float(means_A.max())
    deviations_A = np.maximum(deviations_A, most * 1e-3)
    low = float((means_A - REACH * deviations_A).max())
    high = float((means_A + REACH * deviations_A).max())
    count = math.ceil((high - low) / (STEP * float(deviations_A.min()))) + 1
    y_Q, step = np.linspace(low, high, count, retstep=True)
    z_A_Q = (y_Q - means_A[:, None]) / deviations_A[:, None]
    density_A_Q = np.exp(-(z_A_Q**2) / 2) / (deviations_A[:, None] * math.sqrt(2 * math.pi))
    below_A_Q = (1 + _erf(z_A_Q / math.sqrt(2)).astype(float)) / 2
    ones_Q = np.ones((1, count))
    left_A_Q = np.cumprod(np.concatenate([ones_Q, below_A_Q[:-1]]), axis=0)
    right_A_Q = np.cumprod(np.concatenate([ones_Q, below_A_Q[:0:-1]]), axis=0)[::-1]
    return float((y_Q * density_A_Q * left_A_Q * right_A_Q).sum() * step)
