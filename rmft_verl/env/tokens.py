"""Counts the tokens of an environment's longest dialogue before anything loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmft_verl.env import Env, make_generator
from rmft_verl.env.history import told
from rmft_verl.env.play import CLARIFY
from rmft_verl.types import Message, Observation

CountTokens = Callable[[Sequence[Message], bool], int]
"""Counts the tokens of messages with their template; the flag is True if they open the dialogue."""

PROBED_SCENARIOS = 64


@dataclass(frozen=True)
class Budget:
    """Tokens of the longest dialogue in ``PROBED_SCENARIOS`` scenarios, with every reply at its limit."""

    prompt_tokens: int
    """The longest first message, plus a reserve of one eighth."""
    observation_tokens: int
    """All later messages together, plus the same reserve."""
    horizon: int
    reply_tokens: int
    replies: int
    """Replies in one dialogue: one per round, or 1 if every round has its own prompt."""
    question_tokens: int = 0
    """The question that follows an invalid reply (``rollout.on_invalid=reask``); 0 = it is never asked."""
    alone: bool = False
    """Whether every game asks for the answer line alone, without reasoning (``answer: action_only``)."""

    @property
    def total(self) -> int:
        """If no reply has to be asked again."""
        return self.prompt_tokens + self.observation_tokens + self.replies * self.reply_tokens

    @property
    def most(self) -> int:
        """If every reply has to be asked again."""
        again = self.question_tokens + self.reply_tokens if self.question_tokens else 0
        return self.total + self.replies * again


LONG = "Thinking about it once more, " * 20 + "\n?"
"""A reply of which as much as possible is quoted in a next prompt (``rollout.history=notes``)."""


def estimate_tokens(messages: Sequence[Message], opening: bool) -> int:
    """Estimate without a tokenizer: one token per three characters, plus ten per message for the template."""
    return sum(math.ceil(len(message.content) / 3) + 10 for message in messages)


def measure_budget(
    env_class: type[Env],
    option_sets: Sequence[Mapping[str, Any]],
    reply_tokens: int,
    count: CountTokens,
    history: str = "dialogue",
    examples: Sequence[Message] = (),
    on_invalid: str = "uniform",
) -> Budget:
    """Play scenarios of each option set with uniform actions and count what the player would read."""
    prompt = observations = horizon = 0
    alone = True
    for options in option_sets:
        rng = np.random.default_rng(0)
        generator = make_generator(env_class, options)
        for seed in range(PROBED_SCENARIOS):
            scenario = generator.draw(rng)
            alone &= scenario.telling.get("answer") == "action_only"
            env = told(env_class(scenario, seed), scenario, history, examples)
            observation: Observation | None = env.reset()
            later = 0
            while observation is not None:
                env.parse(LONG)
                if observation.fresh or observation.turn == 0:
                    prompt = max(prompt, count(observation.messages, True))
                else:
                    later += count(observation.messages, False)
                spec = observation.spec
                uniform = (1.0 / spec.n_actions,) * spec.n_actions
                result = env.step(uniform if spec.full_information else int(rng.integers(spec.n_actions)))
                observation = result.observation
            observations, horizon = max(observations, later), max(horizon, scenario.horizon)
    replies = horizon if history == "dialogue" else 1
    question = count([CLARIFY], False) if on_invalid == "reask" else 0
    prompt, observations = math.ceil(prompt * 1.125), math.ceil(observations * 1.125)
    return Budget(prompt, observations, horizon, reply_tokens, replies, question, alone)
