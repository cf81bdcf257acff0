"""What a rule of optimism knows of every arm, in words: the algorithm guide of EVOLvE (Nie et al. 2025).

A bandit's guide has the numbers that the player ``ucb1`` adds up, that of a contextual bandit those of ``linucb``: an
estimate, and a bonus for its doubt. The released code of EVOLvE has other constants: sqrt(0.5 log(t) / n) for UCB and
alpha = 0.5 for LinUCB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rmft_verl.env.ridge import LinearArms
from rmft_verl.types import GameSpec, Observation

UCB_EXPLORATION = 1.0
"""The constant C in ``ucb1``'s bonus 2 sd sqrt(C / n), as in the published baseline."""

LINUCB_EXPLORATION = 1.0
"""The constant alpha in ``linucb``'s bonus 2 sd alpha sqrt(x' V^-1 x), for rewards of standard deviation 0.5."""

MEANING = "A bonus says by how much a number may be too low."


class Guide:
    """Reads the observations of one episode and tells the guide for the round that the last one begins."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._linear = LinearArms()

    def see(self, observation: Observation) -> None:
        """Read an observation; each must be read once, in order."""
        if observation.context_F is not None:
            self._linear.see(observation)

    def tell(self, observation: Observation, counts_A: np.ndarray, sums_A: np.ndarray) -> str:
        """One clause per arm, from how often it was played and the sum of what it paid; then what a bonus means."""
        context_F, spec = observation.context_F, observation.spec
        clauses = self._linear_clauses(context_F, spec) if context_F is not None else _clauses(counts_A, sums_A, spec)
        told = [
            f"{name} {f'{count} times' if count else 'never'}, {clause}"
            for name, count, clause in zip(self._names, counts_A.tolist(), clauses, strict=True)
        ]
        return f"{'; '.join(told)}. {MEANING}"

    def _linear_clauses(self, context_F: np.ndarray, spec: GameSpec) -> list[str]:
        arms = self._linear.arms
        bonus_A = linucb_bonus_A(arms.widths_A(context_F), spec.reward_scale)
        pairs = zip(arms.means_A(context_F).tolist(), bonus_A.tolist(), strict=True)
        return [f"in this case {_shown(mean, spec)}, bonus {_shown(bonus, spec)}" for mean, bonus in pairs]


def ucb_bonus(count: int, reward_scale: float) -> float:
    """2 sd sqrt(C / n) for an arm played ``count`` times, at least once."""
    return 2 * reward_scale * math.sqrt(UCB_EXPLORATION / count)


def linucb_bonus_A(widths_A: np.ndarray, reward_scale: float) -> np.ndarray:
    """2 sd alpha sqrt(x' V^-1 x), shape (A,), from ``RidgeArms.widths_A``."""
    return 2 * reward_scale * LINUCB_EXPLORATION * widths_A


def _clauses(counts_A: np.ndarray, sums_A: np.ndarray, spec: GameSpec) -> list[str]:
    return [
        f"average {_shown(total / count, spec)}, bonus {_shown(ucb_bonus(count, spec.reward_scale), spec)}"
        if count
        else "bonus unlimited"
        for count, total in zip(counts_A.tolist(), sums_A.tolist(), strict=True)
    ]


def _shown(value: float, spec: GameSpec) -> str:
    return f"{value * spec.shown_scale:.2f}{f' {spec.unit}' if spec.unit else ''}"
