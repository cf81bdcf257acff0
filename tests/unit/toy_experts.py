"""All rewards are revealed, a reply names one option, and rewards are drawn around fixed means."""

from __future__ import annotations

import numpy as np

from rmft_verl.types import Action, GameSpec, Message, Observation, Oracle, Scenario, StepResult


class ExpertsGenerator:
    def draw(self, rng: np.random.Generator) -> Scenario:
        means = [round(float(mean), 3) for mean in rng.random(3)]
        return Scenario("toy_experts", 6, ("ann", "bob", "eve"), "plain", {"means": means})


class Experts:
    name = "toy_experts"
    Generator: type = ExpertsGenerator

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._names, self._means_A, self._turn = scenario.actions, np.array(scenario.game["means"]), 0
        draws_T_A = np.random.default_rng(seed).random((scenario.horizon, len(self._means_A)))
        self._rewards_T_A = (draws_T_A < self._means_A).astype(float)
        self._spec = GameSpec(len(self._means_A), scenario.horizon, "bounded", 0.5, full_information=True)

    def reset(self) -> Observation:
        return self._observe(f"Whom do you follow? Answer Expert: {' or '.join(self._names)}.", None, None)

    def parse(self, text: str) -> Action | None:
        name = text.strip().rpartition(":")[2].strip()
        return tuple(float(name == one) for one in self._names) if name in self._names else None

    def step(self, action: Action) -> StepResult:
        rewards_A = self._rewards_T_A[self._turn]
        self._turn += 1
        reward, done = float(rewards_A @ np.array(action)), self._turn == len(self._rewards_T_A)
        told = ", ".join(f"{name} {paid:g}" for name, paid in zip(self._names, rewards_A, strict=True))
        return StepResult(
            None if done else self._observe(f"{told}. You got {reward:.17g}.", action, rewards_A), reward, done
        )

    def oracle(self) -> Oracle:
        return Oracle(np.tile(self._means_A, (len(self._rewards_T_A), 1)), "pseudo")

    def _observe(self, text: str, action: Action | None, rewards_A: np.ndarray | None) -> Observation:
        return Observation((Message("user", text),), self._spec, self._turn, action, rewards_A)
