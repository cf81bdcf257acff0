"""The weak habits the tiny model is pre-trained on, and the dialogues they produce.

Each dialogue is played by one habit from start to end, which says so in its thoughts.
The mixture has the failures reported of real models: play that ignores the rewards, and play that stops exploring
(Krishnamurthy et al. 2024), with some competence mixed in, so that there is something for selection to find.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rmft_verl.env import load_env
from rmft_verl.types import Message, Observation, Scenario

OPTIONS = {"arms": [3, 4, 5], "horizon": [20], "law": ["bernoulli"], "min_gap": 0.1}
"""The games of the pre-training dialogues, told in training contexts only."""


class Dialogue(NamedTuple):
    """One habit's play of one scenario."""

    scenario: Scenario
    messages: list[Message]
    actions_T: list[int]


@dataclass
class Memory:
    """What a habit has seen. ``wins`` and ``tries`` have one entry per arm."""

    wins: list[float]
    tries: list[int]
    last: int | None = None
    last_reward: float = 0.0

    def mean(self, arm: int) -> float:
        """Average reward of ``arm`` so far, 0 if it was never tried."""
        return self.wins[arm] / self.tries[arm] if self.tries[arm] else 0.0

    def best(self, rng: random.Random, bonus: float = 0.0) -> int:
        """The arm with the largest average plus ``sqrt(bonus / tries)``, ties broken by ``rng``."""
        values = [self.mean(arm) + math.sqrt(bonus / max(1, tries)) for arm, tries in enumerate(self.tries)]
        return rng.choice([arm for arm, value in enumerate(values) if value == max(values)])

    def any(self, rng: random.Random) -> int:
        return rng.randrange(len(self.tries))


Habit = Callable[[Memory, random.Random], tuple[int, str]]
"""Memory -> arm and thought. ``{tally}`` in a thought becomes the arm's name with its wins and tries."""


def _uniform(memory: Memory, rng: random.Random) -> tuple[int, str]:
    return memory.any(rng), "Any one will do."


def _stick(memory: Memory, rng: random.Random) -> tuple[int, str]:
    return memory.any(rng) if memory.last is None else memory.last, "I keep to one."


def _greedy(memory: Memory, rng: random.Random) -> tuple[int, str]:
    return memory.best(rng), "Take what looks best: {tally}."


def _win_stay(memory: Memory, rng: random.Random) -> tuple[int, str]:
    if memory.last is None:
        return memory.any(rng), "See whether it pays."
    if memory.last_reward > 0:
        return memory.last, "It paid, so stay."
    return rng.choice([arm for arm in range(len(memory.tries)) if arm != memory.last]), "It failed, so switch."


def _eps_greedy(memory: Memory, rng: random.Random) -> tuple[int, str]:
    if memory.last is None or rng.random() < 0.3:
        return memory.any(rng), "Now a gamble: {tally}."
    return memory.best(rng), "Mostly the best: {tally}."


def _try_all(memory: Memory, rng: random.Random) -> tuple[int, str]:
    new = [arm for arm, tries in enumerate(memory.tries) if not tries]
    if new:
        return rng.choice(new), "Try each one first: {tally}."
    return memory.best(rng, bonus=0.5), "Weigh payoff and doubt: {tally}."


HABITS: dict[str, tuple[float, Habit]] = {
    "uniform": (0.35, _uniform),
    "stick": (0.20, _stick),
    "greedy": (0.20, _greedy),
    "win_stay": (0.05, _win_stay),
    "eps_greedy": (0.05, _eps_greedy),
    "try_all": (0.15, _try_all),
}
"""Name -> share of the dialogues and rule. ``docs/selection.md`` says why this mixture leaves room to learn."""


class Teacher:
    """Writes dialogues: the environment's words, one habit's replies."""

    def __init__(self, env_name: str, contexts: str = "train") -> None:
        self._env_class = load_env(env_name)
        self._generator = self._env_class.Generator(**OPTIONS, contexts=contexts)

    def dialogue(self, seed: int, habit: str | None = None) -> Dialogue:
        """A whole dialogue, a function of the arguments; the habit is drawn from the mixture if not given."""
        scenario = self._generator.draw(np.random.default_rng([seed, 0]))
        rng = random.Random(seed)
        name = habit or rng.choices(list(HABITS), [share for share, _ in HABITS.values()])[0]
        memory = Memory([0.0] * len(scenario.actions), [0] * len(scenario.actions))
        env = self._env_class(scenario, seed)
        observation: Observation | None = env.reset()
        messages: list[Message] = []
        actions: list[int] = []
        while observation is not None:
            arm, thought = HABITS[name][1](memory, rng)
            tally = f"{scenario.actions[arm]} {memory.wins[arm]:.0f}/{memory.tries[arm]}"
            reply = f"{thought.format(tally=tally)}\nAction: {scenario.actions[arm]}"
            messages += [*observation.messages, Message("assistant", reply)]
            result = env.step(arm)
            memory.wins[arm] += result.reward
            memory.tries[arm] += 1
            memory.last, memory.last_reward = arm, result.reward
            actions.append(arm)
            observation = result.observation
        return Dialogue(scenario, messages, actions)
