"""Full-information online learning told in words: one growing dialogue, one line with all rewards per round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from env_plugins.contexts import CONTEXTS, shown
from env_plugins.fol.games import rewarder
from env_plugins.fol.generator import FullInformationGenerator
from env_plugins.fol.parsing import parse_policy
from env_plugins.fol.suites import SUITES
from env_plugins.mab.parsing import parse_action
from env_plugins.mab.words import ANSWERS as OPTION
from rmft_verl.types import Action, GameSpec, Message, Observation, Oracle, Scenario, StepResult

_POLICY = (
    "Policy: NAME SHARE, NAME SHARE, ...\nwith each of the names above and its share as a number; the shares sum to 1."
)
ANSWERS = {
    "free": f"Think freely, then end your reply with a last line\n{_POLICY}",
    "action_only": f"Reply with one line and nothing else:\n{_POLICY}",
}
"""Answer style -> the instruction for it."""

RULES = {
    "shares": "What a round brings is the average of these numbers, each weighted by the share you gave it.",
    "option": "What a round brings is the number of the {option} you chose.",
}
"""Choice -> what a round brings."""

GOAL = "The numbers may change from round to round, in any way. Make the total over all {T} rounds as large as you can."
SCALE = 0.5
"""The largest standard deviation of a reward in [0, 1]; the player is told only this bound."""
TOLERANCE = 1e-6
"""How far the sum of an action may be from 1."""


class FullInformationEnv:
    """Each round the player gives a distribution over K actions, earns <pi, R> and is shown the whole vector R; with
    ``choice=option`` a reply names one action, and the distribution is all on it.

    R lies in [0, 1]. Except against the adversary and in matrix games, the sequence is part of the scenario: all its
    rollouts meet the same one whatever their seed, so that their regrets differ by actions and not by luck. Matrix
    games depend on the player's actions alone; ``seed`` breaks only the adversary's ties.
    """

    name: ClassVar[str] = "fol"
    Generator: ClassVar[type] = FullInformationGenerator
    SUITES: ClassVar[Mapping[str, Mapping[str, Any]]] = SUITES

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._context = CONTEXTS[scenario.context]
        self._choice = scenario.telling.get("choice", "shares")
        self._rewarder = rewarder(scenario.game, seed)
        self._revealed: list[np.ndarray] = []
        n_actions, context = len(scenario.actions), self._context
        self._spec = GameSpec(n_actions, scenario.horizon, "bounded", SCALE, True, context.scale, context.unit)

    def reset(self) -> Observation:
        """The story, the rules, the answer format and the first round."""
        answer = (ANSWERS if self._choice == "shares" else OPTION)[self._scenario.telling.get("answer", "free")]
        return Observation((Message("user", f"{self._intro()}\n{answer}\n{self._round()}"),), self._spec, 0)

    def parse(self, text: str) -> Action | None:
        """The point of the simplex that the reply states, or None; the corner of the option that it names."""
        if self._choice == "option":
            chosen = parse_action(text, self._scenario.actions, self._context.option)
            return None if chosen is None else tuple(float(a == chosen) for a in range(self._spec.n_actions))
        return parse_policy(text, self._scenario.actions, self._context.option)

    def say(self, action: Action) -> str:
        """The shortest reply that gives the shares, in whole hundredths; imitated algorithms answer with it.

        Hundredths are rounded so that they sum to 1; the game is played with the rounded shares. Where one option is
        chosen, it names the one with the largest share.
        """
        assert isinstance(action, tuple)
        if self._choice == "option":
            return f"Action: {self._scenario.actions[int(np.argmax(action))]}"
        exact_A = 100 * np.array(action)
        floor_A = np.floor(exact_A + 1e-9)
        up = np.argsort(floor_A - exact_A, kind="stable")[: round(100 - floor_A.sum())]
        floor_A[up] += 1
        shares = zip(self._scenario.actions, floor_A / 100, strict=True)
        return "Policy: " + ", ".join(f"{name} {share:.2f}" for name, share in shares)

    def step(self, action: Action) -> StepResult:
        """Play one distribution; the reward is its expected reward <pi, R>, in [0, 1]."""
        horizon = self._scenario.horizon
        if len(self._revealed) >= horizon:
            raise RuntimeError(f"all {horizon} rounds are played: build a new environment")
        policy_A = self._checked(action)
        rewards_A = self._reveal(policy_A)
        reward, turn = float(policy_A @ rewards_A), len(self._revealed)
        if turn == horizon:
            return StepResult(None, reward, True)
        words = Message("user", f"{self._report(rewards_A)}\n{self._round()}")
        return StepResult(Observation((words,), self._spec, turn, action, rewards_A.copy()), reward, False)

    def oracle(self) -> Oracle:
        """The revealed reward vectors; for rounds that were not played, those that uniform play would reveal."""
        n_actions = self._spec.n_actions
        while len(self._revealed) < self._spec.horizon:
            self._reveal(np.full(n_actions, 1.0 / n_actions))
        return Oracle(np.array(self._revealed), "external")

    def _reveal(self, policy_A: np.ndarray) -> np.ndarray:
        rewards_A = self._rewarder.reveal(policy_A)
        self._revealed.append(rewards_A)
        return rewards_A

    def _checked(self, action: Action) -> np.ndarray:
        n_actions = self._spec.n_actions
        fits = isinstance(action, tuple) and len(action) == n_actions
        policy_A = np.array(action if fits else np.nan, dtype=float)
        if not (np.all(policy_A >= 0) and abs(policy_A.sum() - 1) <= TOLERANCE):
            raise ValueError(f"action {action!r} is no distribution: use a tuple of {n_actions} shares that sum to 1")
        return policy_A

    def _report(self, rewards_A: np.ndarray) -> str:
        pairs = zip(self._scenario.actions, rewards_A, strict=True)
        return "Results: " + ", ".join(f"{name} {shown(self._context, float(reward))}" for name, reward in pairs)

    def _round(self) -> str:
        return f"Round {len(self._revealed) + 1} of {self._scenario.horizon}."

    def _intro(self) -> str:
        context, scenario = self._context, self._scenario
        scene = context.shares if self._choice == "shares" else context.scene
        scene = scene.format(K=len(scenario.actions), T=scenario.horizon, names=", ".join(scenario.actions))
        rules = f"{RULES[self._choice].format(option=context.option)} {GOAL.format(T=scenario.horizon)}"
        hint = f" {context.hint}" if scenario.telling.get("framing") == "suggestive" else ""
        return f"{scene} {context.revealed} {rules}{hint}"
