"""A stochastic bandit told in words: one growing dialogue, with one short report per round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from env_plugins.contexts import CONTEXTS, shown
from env_plugins.mab.generator import BanditGenerator
from env_plugins.mab.laws import draw_tape, reward_scale
from env_plugins.mab.parsing import parse_action
from env_plugins.mab.suites import SUITES
from env_plugins.mab.words import ANSWERS, law_words
from rmft_verl.types import Action, GameSpec, Message, Observation, Oracle, Scenario, StepResult


class BanditEnv:
    """K arms with fixed means; only the reward of the chosen arm is revealed.

    Rewards come from a tape of shape (T, K) drawn from ``seed`` up front: episodes of one scenario with one seed get
    the same reward for the same arm in the same round, whatever was played before.
    """

    name: ClassVar[str] = "mab"
    Generator: ClassVar[type] = BanditGenerator
    SUITES: ClassVar[Mapping[str, Mapping[str, Any]]] = SUITES
    REGRET: ClassVar[str] = "pseudo"
    """Kind of the oracle."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario, self._game = scenario, scenario.game
        self._context = CONTEXTS[scenario.context]
        self._horizon, self._n_actions = scenario.horizon, len(scenario.actions)
        self._means_T_A = np.broadcast_to(self._means(), (self._horizon, self._n_actions))
        # Python numbers and prepared texts, so that a round takes microseconds.
        self._rewards_T_A = draw_tape(self._game, self._means_T_A, np.random.default_rng(seed)).tolist()
        self._reports_A = [self._context.report.format(name=name, reward="{}") for name in scenario.actions]
        self._hidden_A = np.full(self._n_actions, np.nan)
        self._binary = self._game["law"] == "bernoulli"
        self._spec = self._told()
        self._turn = 0

    def reset(self) -> Observation:
        """The story, the rules, the answer format and the first round."""
        answer = ANSWERS[self._scenario.telling.get("answer", "free")]
        return self._observe(f"{self._intro()}\n{answer}", 0)

    def parse(self, text: str) -> Action | None:
        """Index of the arm that the reply chooses, or None."""
        return parse_action(text, self._scenario.actions, self._context.option)

    def say(self, action: Action) -> str:
        """The shortest reply that names an arm; imitated algorithms answer with it."""
        assert isinstance(action, int)
        return f"Action: {self._scenario.actions[action]}"

    def step(self, action: Action) -> StepResult:
        """Play one arm; its reward is in reward units, 0 or 1 for Bernoulli arms."""
        turn = self._turn
        if turn >= self._horizon:
            raise RuntimeError(f"all {self._horizon} rounds are played: build a new environment")
        if not isinstance(action, (int, np.integer)) or not 0 <= action < self._n_actions:
            raise ValueError(f"action {action!r} is not an arm: use 0 to {self._n_actions - 1}")
        arm = int(action)
        reward: float = self._rewards_T_A[turn][arm]
        self._turn = turn = turn + 1
        if turn == self._horizon:
            return StepResult(None, reward, True)
        paid = f"{reward:.0f}" if self._binary else shown(self._context, reward)
        feedback_A = self._hidden_A.copy()
        feedback_A[arm] = reward
        return StepResult(self._observe(self._reports_A[arm].format(paid), turn, arm, feedback_A), reward, False)

    def oracle(self) -> Oracle:
        """The mean of every arm at every round."""
        return Oracle(self._means_T_A.copy(), self.REGRET)

    def _means(self) -> np.ndarray:
        """The mean of every arm, shape (A,) or, where it changes, (T, A)."""
        return np.array(self._game["means"], dtype=float)

    def _observe(
        self, report: str, turn: int, arm: int | None = None, feedback_A: np.ndarray | None = None
    ) -> Observation:
        text = f"{report}\nRound {turn + 1} of {self._horizon}."
        return Observation((Message("user", text),), self._spec, turn, arm, feedback_A)

    def _told(self) -> GameSpec:
        scale, unit = (1.0, "") if self._binary else (self._context.scale, self._context.unit)
        law, deviation = self._game["law"], reward_scale(self._game)
        return GameSpec(self._n_actions, self._horizon, law, deviation, shown_scale=scale, unit=unit)

    def _intro(self) -> str:
        context, names = self._context, ", ".join(self._scenario.actions)
        scene = context.scene.format(K=self._n_actions, T=self._horizon, names=names)
        goal = f"Make the total over all {self._horizon} rounds as large as you can."
        hint = f" {self._hint()}" if self._scenario.telling.get("framing") == "suggestive" else ""
        return f"{scene} {self._law()} {goal}{hint}"

    def _law(self) -> str:
        return law_words(self._context, self._game)

    def _hint(self) -> str:
        return self._context.hint
