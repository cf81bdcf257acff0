"""The smallest bandit, and trajectories of it written by hand, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmft_verl.env.regret import score
from rmft_verl.types import (
    Action,
    GameSpec,
    Message,
    Observation,
    Oracle,
    Scenario,
    StepResult,
    StopReason,
    Trajectory,
    Turn,
)


def toy_scenario(means: Sequence[float], horizon: int, context: str = "plain") -> Scenario:
    return Scenario("toy", horizon, tuple(f"arm{a}" for a in range(len(means))), context, {"means": list(means)})


class ToyGenerator:
    def __init__(self, horizon: int = 3) -> None:
        self._horizon = horizon

    def draw(self, rng: np.random.Generator) -> Scenario:
        return toy_scenario([round(float(mean), 3) for mean in rng.random(2)], self._horizon)


class ToyBandit:
    """Bernoulli arms on a reward tape; a reply is the number of an arm."""

    name = "toy"
    Generator: type = ToyGenerator

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario, self._turn = scenario, 0
        self._means_A = np.array(scenario.game["means"])
        uniform_T_A = np.random.default_rng(seed).random((scenario.horizon, len(self._means_A)))
        self._rewards_T_A = (uniform_T_A < self._means_A).astype(float)
        self._spec = GameSpec(len(self._means_A), scenario.horizon, "bernoulli", 0.5)

    def reset(self) -> Observation:
        return self._observe(None)

    def parse(self, text: str) -> Action | None:
        return int(text) if text in {str(a) for a in range(len(self._means_A))} else None

    def step(self, action: Action) -> StepResult:
        assert isinstance(action, int)
        if not 0 <= action < len(self._means_A):
            raise IndexError(f"no arm {action}")
        reward = float(self._rewards_T_A[self._turn, action])
        self._turn += 1
        done = self._turn == self._scenario.horizon
        return StepResult(None if done else self._observe(action, reward), reward, done)

    def oracle(self) -> Oracle:
        return Oracle(np.tile(self._means_A, (self._scenario.horizon, 1)), "pseudo")

    def _observe(self, action: int | None, reward: float = np.nan) -> Observation:
        feedback_A = None
        if action is not None:
            feedback_A = np.full(len(self._means_A), np.nan)
            feedback_A[action] = reward
        text = f"round {self._turn} after {action} paid {reward}"
        return Observation((Message("user", text),), self._spec, self._turn, action, feedback_A)


def toy_trajectory(
    means: Sequence[float],
    actions: Sequence[Action],
    rewards: Sequence[float] | None = None,
    *,
    horizon: int | None = None,
    context: str = "plain",
    stop: StopReason = StopReason.COMPLETED,
    parsed: bool = True,
    cut: bool = False,
) -> Trajectory:
    """A scored play of fixed ``means``; every turn alike ``parsed`` and ``cut``; rewards 0 unless given."""
    scenario = toy_scenario(means, horizon or len(actions), context)
    paid = rewards or [0.0] * len(actions)
    turns = tuple(
        Turn((Message("user", "?"),), str(a), a, reward, parsed, cut) for a, reward in zip(actions, paid, strict=True)
    )
    oracle = Oracle(np.tile(np.array(means), (scenario.horizon, 1)), "pseudo")
    return score(Trajectory(scenario, "hand", turns, oracle, stop, reward_seed=0, policy_seed=0))
