"""How a model reads the earlier rounds: in a growing dialogue, or in a new prompt every round that repeats them.

A dialogue keeps the model's earlier replies, reasoning included, in its context. The other views keep only the
environment's words, and ``notes`` what the model said last: every round is a training sample. Training always uses the
tokens exactly as they were sampled.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rmft_verl.env import Env
from rmft_verl.env.answers import answer_span
from rmft_verl.env.guide import Guide
from rmft_verl.env.thoughts import spoken
from rmft_verl.types import Action, GameSpec, Message, Observation, Oracle, Scenario, StepResult

HISTORIES = ("dialogue", "transcript", "summary", "guided", "notes")
"""A growing dialogue; a prompt per round with every report so far; one with counts and averages; one that adds to them
what a rule of optimism knows (``guide``), or what the model said before its last action."""

NOTE = 300
"""Most characters of a note, the last ones of what was said."""

NOW = "That game was an example. Another one begins.\n"
"""Text between the worked examples and the first message of the game."""


def told(env: Env, scenario: Scenario, history: str, examples: Sequence[Message] = ()) -> Env:
    """``env`` with the given ``history``, and with ``examples`` before the first message of every dialogue.

    ``ValueError`` for a history that is not in ``HISTORIES``.
    """
    if history not in HISTORIES:
        raise ValueError(f"history {history!r} is unknown. Known: {', '.join(HISTORIES)}.")
    game = env if history == "dialogue" else SinglePrompt(env, scenario, history)
    return BehindExamples(game, examples) if examples else game


class _Wrapped:
    """Base of both wrappers: passes ``parse`` and ``oracle`` on."""

    Generator: ClassVar[type] = object

    def __init__(self, env: Env) -> None:
        self._env = env

    def parse(self, text: str) -> Action | None:
        return self._env.parse(text)

    def oracle(self) -> Oracle:
        return self._env.oracle()


class BehindExamples(_Wrapped):
    """Wraps an environment and puts messages of other games at the start of every dialogue."""

    name: ClassVar[str] = "behind_examples"

    def __init__(self, env: Env, examples: Sequence[Message]) -> None:
        super().__init__(env)
        self._system = [message for message in examples if message.role == "system"][:1]
        self._examples = [message for message in examples if message.role != "system"]

    def reset(self) -> Observation:
        return self._behind(self._env.reset())

    def step(self, action: Action) -> StepResult:
        result = self._env.step(action)
        if result.observation is None or not result.observation.fresh:
            return result
        return dataclasses.replace(result, observation=self._behind(result.observation))

    def _behind(self, observation: Observation) -> Observation:
        first, *later = [message for message in observation.messages if message.role != "system"]
        own = [first._replace(content=NOW + first.content), *later]
        return dataclasses.replace(observation, messages=(*self._system, *self._examples, *own))


class SinglePrompt(_Wrapped):
    """Wraps an environment so that every observation is one self-contained user message."""

    name: ClassVar[str] = "single_prompt"

    def __init__(self, env: Env, scenario: Scenario, history: str) -> None:
        super().__init__(env)
        self._actions, self._history = scenario.actions, history
        self._guide = Guide(scenario.actions)
        self._texts: list[str] = []
        self._note = ""
        self._counts_A = np.zeros(len(scenario.actions), dtype=int)
        self._sums_A = np.zeros(len(scenario.actions))

    def reset(self) -> Observation:
        return self._whole(self._env.reset())

    def parse(self, text: str) -> Action | None:
        if self._history == "notes":
            self._note = note(text[: answer_span(text, self._env.parse)[0]])
        return super().parse(text)

    def step(self, action: Action) -> StepResult:
        result = self._env.step(action)
        if result.observation is None:
            return result
        return dataclasses.replace(result, observation=self._whole(result.observation))

    def _whole(self, observation: Observation) -> Observation:
        self._texts.append("\n".join(message.content for message in observation.messages))
        if observation.feedback_A is not None:
            revealed_A = ~np.isnan(observation.feedback_A)
            self._counts_A += revealed_A
            self._sums_A += np.where(revealed_A, observation.feedback_A, 0.0)
        if self._guided(observation):
            self._guide.see(observation)
        text = "\n".join(self._texts) if self._history == "transcript" else self._summary(observation)
        return dataclasses.replace(observation, messages=(Message("user", text),), fresh=True)

    def _summary(self, observation: Observation) -> str:
        """The rules, one line with what every action has paid, and the line that asks for the next move."""
        rules, _, asked_first = self._texts[0].rpartition("\n")
        asked = self._texts[-1].rpartition("\n")[2]
        if len(self._texts) == 1:
            return self._texts[0]
        if not rules or _shape(asked_first) != _shape(asked):  # the rules do not end in a line that asks for the move
            rules = self._texts[0]
        said = f"\nYour last note: {self._note}" if self._note else ""
        return f"{rules}\n{self._tally(observation)}{said}\n{asked}"

    def _tally(self, observation: Observation) -> str:
        told = f"So far, after {len(self._texts) - 1} rounds"
        if self._guided(observation):
            return f"{told}: {self._guide.tell(observation, self._counts_A, self._sums_A)}"
        return f"{told}: {'; '.join(self._averages(observation.spec))}."

    def _guided(self, observation: Observation) -> bool:
        """Whether the view has a guide; where all rewards are revealed, there is no doubt to tell."""
        return self._history == "guided" and not observation.spec.full_information

    def _averages(self, spec: GameSpec) -> list[str]:
        unit = f" {spec.unit}" if spec.unit else ""
        parts: list[str] = []
        for name, count, total in zip(self._actions, self._counts_A, self._sums_A, strict=True):
            average = f"average {total / count * spec.shown_scale:.2f}{unit}" if count else ""
            if spec.full_information:
                parts.append(f"{name} {average}")
            else:
                parts.append(f"{name} {count} times, {average}" if count else f"{name} never")
        return parts


def note(text: str) -> str:
    """The end of what ``text`` says outside its thoughts, in one line without brackets, which could form a token that
    begins or ends a turn.
    """
    return " ".join(re.sub(r"[<>\[\]{}|]", " ", spoken(text)).split())[-NOTE:].lstrip()


def _shape(line: str) -> str:
    return re.sub(r"-?\d+", "#", line)
