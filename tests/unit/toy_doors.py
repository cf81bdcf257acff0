"""The smallest full-information game, for the tests beside this file."""

from __future__ import annotations

from typing import Any

import numpy as np

from rmft_verl.types import GameSpec, Message, Observation, Oracle, Scenario, StepResult


class DoorsGenerator:
    def draw(self, rng: np.random.Generator) -> Scenario:
        return Scenario("doors", 2, ("left", "right"), "plain", {"better": int(rng.integers(2))})


class Doors:
    """Two doors whose rewards are all revealed."""

    name = "doors"

    Generator: type = DoorsGenerator

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._reward_A = np.eye(2)[scenario.game["better"]]
        self._turn = 0

    def reset(self) -> Observation:
        return self._observe(None)

    def parse(self, text: str) -> None:
        return None

    def step(self, action: Any) -> StepResult:
        self._turn += 1
        reward = float(np.asarray(action) @ self._reward_A)
        return StepResult(None if self._turn == 2 else self._observe(action), reward, self._turn == 2)

    def oracle(self) -> Oracle:
        return Oracle(np.tile(self._reward_A, (2, 1)), "external")

    def _observe(self, action: Any) -> Observation:
        spec = GameSpec(2, 2, "bounded", 0.5, full_information=True)
        return Observation(
            (Message("user", "?"),), spec, self._turn, action, None if action is None else self._reward_A
        )
