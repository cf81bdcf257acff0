"""A stochastic bandit told in words: one growing dialogue, one short report a round."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from env_plugins.contexts import CONTEXTS
from env_plugins.mab.generator import BanditGenerator
from env_plugins.mab.parsing import parse_action
from rmft_verl.types import Action, GameSpec, Message, Observation, Oracle, Scenario, StepResult

ANSWER = "Think freely, then end your reply with a last line\nAction: NAME\nwhere NAME is one of the names above."


class BanditEnv:
    """K arms with fixed means; only the reward of the chosen arm is revealed.

    Rewards come from a tape of shape (T, K) drawn from ``seed`` up front: two plays of one scenario with one seed get
    the same reward for the same arm in the same round, whatever was played before.
    """

    name: ClassVar[str] = "mab"
    Generator: ClassVar[type] = BanditGenerator

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._context = CONTEXTS[scenario.context]
        self._means_A = np.array(scenario.game["means"], dtype=float)
        self._law: str = scenario.game["law"]
        self._noise: float = scenario.game["noise"] if self._law == "gaussian" else 0.5
        self._rewards_T_A = self._tape(np.random.default_rng(seed))
        self._turn = 0

    def _tape(self, rng: np.random.Generator) -> np.ndarray:
        shape = (self._scenario.horizon, len(self._means_A))
        if self._law == "bernoulli":
            return (rng.random(shape) < self._means_A).astype(float)
        # Rounded as it is reported, so that words and numbers carry the same information.
        return np.asarray(np.round(self._means_A + self._noise * rng.standard_normal(shape), 2))

    def reset(self) -> Observation:
        """The story, the rules, the answer format and the first round."""
        return self._observe(f"{self._intro()}\n{ANSWER}\n{self._round()}", None)

    def parse(self, text: str) -> Action | None:
        """Index of the arm after the last ``Action:``, or None."""
        return parse_action(text, self._scenario.actions, self._context.option)

    def step(self, action: Action) -> StepResult:
        """Play one arm; its reward is in reward units, 0 or 1 for Bernoulli arms."""
        scenario = self._scenario
        if self._turn >= scenario.horizon:
            raise RuntimeError(f"all {scenario.horizon} rounds are played: build a new environment")
        if not isinstance(action, (int, np.integer)) or not 0 <= action < len(scenario.actions):
            raise ValueError(f"action {action!r} is not an arm: use 0 to {len(scenario.actions) - 1}")
        reward = float(self._rewards_T_A[self._turn, action])
        self._turn += 1
        if self._turn == scenario.horizon:
            return StepResult(None, reward, True)
        shown = f"{reward:.0f}" if self._law == "bernoulli" else f"{reward:.2f}"
        report = self._context.report.format(name=scenario.actions[action], reward=shown)
        return StepResult(self._observe(f"{report}\n{self._round()}", int(action), reward), reward, False)

    def oracle(self) -> Oracle:
        """The means, the same at every round."""
        return Oracle(np.tile(self._means_A, (self._scenario.horizon, 1)), "pseudo")

    def _observe(self, text: str, action: int | None, reward: float = np.nan) -> Observation:
        spec = GameSpec(len(self._means_A), self._scenario.horizon, self._law, self._noise)
        feedback_A = None
        if action is not None:
            feedback_A = np.full(len(self._means_A), np.nan)
            feedback_A[action] = reward
        return Observation((Message("user", text),), spec, self._turn, action, feedback_A)

    def _round(self) -> str:
        return f"Round {self._turn + 1} of {self._scenario.horizon}."

    def _intro(self) -> str:
        context, scenario = self._context, self._scenario
        scene = context.scene.format(K=len(scenario.actions), T=scenario.horizon, names=", ".join(scenario.actions))
        if self._law == "bernoulli":
            law = f"{context.binary} Every {context.option} has its own fixed chance of a 1, which you are not told."
        else:
            law = (
                f"{context.graded} Every {context.option} has its own fixed average, which you are not told; results "
                f"vary around it with standard deviation {self._noise:g}."
            )
        return f"{scene} {law} Make the total over all {scenario.horizon} rounds as large as you can."
