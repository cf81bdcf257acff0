"""Writes the pre-training dialogues of the tiny models: the environment's messages and one habit's replies."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rmft_verl.env import Env, load_env
from rmft_verl.env.history import told
from rmft_verl.labs.tiny.habits import GOOD, HABITS, SUMMARY_HABITS, Memory
from rmft_verl.labs.tiny.policies import POLICY_HABITS, Shares, opening, reply
from rmft_verl.setup.models import BUILT
from rmft_verl.types import Action, Message, Observation, Scenario

BANDITS = {"arms": [3, 4, 5], "horizon": [20], "law": ["bernoulli"], "min_gap": 0.1}
DRIFTING = {"arms": [2, 3, 4], "horizon": [20], "law": ["bernoulli"], "drift": ["abrupt", "gradual", "seasonal"]}
FULL_INFORMATION = {"actions": [2, 3], "horizon": [10]}
EXPLORING = {
    "arms": [2, 3],
    "horizon": [60],
    "law": ["bernoulli"],
    "mean_low": 0.1,
    "mean_high": 0.7,
    "min_gap": 0.4,
}
"""The suite ``mab:explore_small`` (tests/unit/test_tiny.py compares)."""

GAMES: dict[str, dict[str, Mapping[str, Any]]] = {
    "mab": {"mab": BANDITS},
    "trio": {"mab": BANDITS, "nsmab": DRIFTING, "fol": FULL_INFORMATION},
    **{kind: {"mab": EXPLORING} for kind in BUILT},
    "unannounced": {"mab": EXPLORING | {"answer": "action_only"}},
}
"""Tiny model -> its environments and the options of their games; the dialogues use the plain domains. The model without
thoughts is asked for none, so that structured decoding leaves it the choice of an action and nothing else.
"""


class Dialogue(NamedTuple):
    """One scenario played by one habit. The messages take turns; if the past is told as a summary, each of the
    environment's begins anew.
    """

    scenario: Scenario
    messages: list[Message]
    actions_T: list[Action]


def habits(env_name: str, model: str = "mab") -> Mapping[str, tuple[float, str, Any]]:
    """Name -> (share, first thought, rule) of a tiny model's habits in an environment; shares need not sum to 1."""
    if env_name == "fol":
        return POLICY_HABITS
    known = SUMMARY_HABITS if model in BUILT else HABITS
    return {name: habit for name, habit in known.items() if model != "weak" or name not in GOOD}


def history(model: str) -> str:
    """How a tiny model's games are told (``rollout.history``): the long ones of the built bases as a summary, with the
    last thought where there are thoughts.
    """
    if model not in BUILT:
        return "dialogue"
    return "summary" if model == "unannounced" else "notes"


class Teacher:
    """Draws scenarios of the games of one tiny model and plays them by habit."""

    def __init__(self, model: str, contexts: str = "basic") -> None:
        self._model = model
        self._games: list[tuple[type[Env], Any]] = []
        for env_name, options in GAMES[model].items():
            env_class = load_env(env_name)
            self._games.append((env_class, env_class.Generator(**options, contexts=contexts)))

    def dialogue(self, seed: int, habit: str | None = None) -> Dialogue:
        """A whole dialogue, fixed by the arguments; the habit is drawn from the mixture if not given.

        Successive seeds rotate through the environments. ``KeyError`` if that environment lacks the habit.
        """
        env_class, generator = self._games[seed % len(self._games)]
        scenario = generator.draw(np.random.default_rng([seed, 0]))
        rng, known = random.Random(seed), habits(env_class.name, self._model)
        name = habit or rng.choices(list(known), [share for share, _, _ in known.values()])[0]
        if known is POLICY_HABITS:
            return _shares_play(env_class(scenario, seed), scenario, name, rng)
        env = told(env_class(scenario, seed), scenario, history(self._model))
        return _arms_play(env, scenario, known[name], rng, quiet=self._model == "unannounced")

    def practice(self, seed: int) -> Dialogue:
        """As ``dialogue``, with each habit in turn."""
        env_class, _ = self._games[seed % len(self._games)]
        known = list(habits(env_class.name, self._model))
        return self.dialogue(seed, known[seed // len(self._games) % len(known)])


def _arms_play(
    env: Env, scenario: Scenario, habit: tuple[float, str, Any], rng: random.Random, quiet: bool
) -> Dialogue:
    _, opening_thought, rule = habit
    memory = Memory([0.0] * len(scenario.actions), [0] * len(scenario.actions))
    messages: list[Message] = []
    actions: list[Action] = []
    observation: Observation | None = env.reset()
    while observation is not None:
        arm, thought = rng.randrange(len(scenario.actions)), opening_thought
        if rule is not None and memory.last is not None:
            arm, thought = rule(memory)
        name = scenario.actions[arm]
        said = "" if quiet else thought.format(tally=f"{name} {memory.wins[arm]:.0f}/{memory.tries[arm]}") + "\n"
        messages += [*observation.messages, Message("assistant", f"{said}Action: {name}")]
        env.parse(messages[-1].content)  # a next prompt may quote it
        result = env.step(arm)
        memory.wins[arm] += result.reward
        memory.tries[arm] += 1
        memory.last, memory.last_reward = arm, result.reward
        actions.append(arm)
        observation = result.observation
    return Dialogue(scenario, messages, actions)


def _shares_play(env: Env, scenario: Scenario, habit: str, rng: random.Random) -> Dialogue:
    _, thought, rule = POLICY_HABITS[habit]
    given = opening(habit, len(scenario.actions), rng)
    messages: list[Message] = []
    actions: list[Action] = []
    observation: Observation | None = env.reset()
    while observation is not None:
        if observation.feedback_A is not None:
            shares = Shares(given, observation.feedback_A.tolist())
            given, thought = rule(shares)
            thought = thought.format(best=scenario.actions[shares.best], worst=scenario.actions[shares.worst])
        messages += [*observation.messages, Message("assistant", reply(thought, given, scenario.actions))]
        actions.append(tuple(share / 100 for share in given))
        observation = env.step(actions[-1]).observation
    return Dialogue(scenario, messages, actions)
