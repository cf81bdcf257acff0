"""Batches of games as tensors, from the environments' own definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rmft_verl.types import Scenario

KINDS = {"fol": "external", "mab": "pseudo", "nsmab": "dynamic"}
"""Environment -> which regret its games are scored by (``regret.REGRETS``)."""


@dataclass(frozen=True)
class Games:
    """A batch of games with one horizon and one number of actions."""

    scenarios: tuple[Scenario, ...]
    rewards_B_T_A: Tensor
    """What every action would pay in every round, in reward units."""
    expected_B_T_A: Tensor
    """The expectation of these rewards; regret is measured on it."""
    kind: str
    reward_seeds: tuple[int, ...]
    """Seeds of the draws around the expectation."""

    @property
    def full_information(self) -> bool:
        """Whether a round reveals all rewards, and an action is a point of the simplex."""
        return self.kind == "external"

    def take(self, index: Sequence[int]) -> Games:
        """Some of the games, in the order of ``index``; a game may be taken several times."""
        rows = torch.as_tensor(index, device=self.rewards_B_T_A.device)
        return Games(
            tuple(self.scenarios[i] for i in index),
            self.rewards_B_T_A[rows],
            self.expected_B_T_A[rows],
            self.kind,
            tuple(self.reward_seeds[i] for i in index),
        )


def lay_out(scenarios: Sequence[Scenario], reward_seeds: Sequence[int], device: str = "cpu") -> Games:
    """The games of ``scenarios``, which must share environment, horizon and number of actions.

    The environment itself makes the same draws from the same seeds.
    """
    tables = [_tables(scenario, seed) for scenario, seed in zip(scenarios, reward_seeds, strict=True)]
    rewards, expected = (np.array(side) for side in zip(*tables, strict=True))
    return Games(
        tuple(scenarios),
        torch.as_tensor(rewards, dtype=torch.float32, device=device),
        torch.as_tensor(expected, dtype=torch.float32, device=device),
        KINDS[scenarios[0].env],
        tuple(reward_seeds),
    )


def by_horizon(scenarios: Sequence[Scenario]) -> dict[int, list[int]]:
    """Horizon -> the positions of the scenarios that have it."""
    found: dict[int, list[int]] = {}
    for i, scenario in enumerate(scenarios):
        found.setdefault(scenario.horizon, []).append(i)
    return found


def _tables(scenario: Scenario, reward_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and expected rewards of one game, shape (T, A) both."""
    from env_plugins.mab.laws import draw_tape

    if scenario.env == "fol":
        rewards_T_A = np.array(scenario.game["rewards"], dtype=float)
        return rewards_T_A, rewards_T_A
    means_T_A = np.broadcast_to(np.array(scenario.game["means"]), (scenario.horizon, len(scenario.actions)))
    return draw_tape(scenario.game, means_T_A, np.random.default_rng(reward_seed)), means_T_A


def regret_curves(kind: str, earned_B_T: Tensor, expected_B_T_A: Tensor) -> Tensor:
    """Cumulative regret after each round, shape (B, T): ``regret.REGRETS[kind]`` for a batch, differentiable."""
    best_fixed_B_T, best_each_B_T = expected_B_T_A.cumsum(1).amax(-1), expected_B_T_A.amax(-1).cumsum(1)
    best_B_T = best_fixed_B_T if kind == "external" else best_each_B_T
    return best_B_T - earned_B_T.cumsum(1)
