"""The habits of the tiny models as players: what a base could reach by playing its best one alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rmft_verl.env.play import Player
from rmft_verl.labs.tiny.habits import Habit, Memory
from rmft_verl.labs.tiny.policies import PolicyHabit, Shares, opening
from rmft_verl.labs.tiny.teacher import GAMES, habits
from rmft_verl.setup.models import BUILT
from rmft_verl.types import Observation, Reply

PREFIX = "tiny:"


class ArmsHabit:
    """A habit of bandits: the first arm is random, and so are all without a rule."""

    name = "habit"

    def __init__(self, rule: Habit | None, seed: int) -> None:
        self._rule, self._rng = rule, random.Random(seed)
        self._memory = Memory([], [])

    async def act(self, observation: Observation) -> Reply:
        memory, arms = self._memory, observation.spec.n_actions
        if observation.feedback_A is None or not isinstance(observation.last_action, int):
            self._memory = memory = Memory([0.0] * arms, [0] * arms)
        else:
            memory.last = observation.last_action
            memory.last_reward = observation.feedback_A.item(memory.last)
            memory.wins[memory.last] += memory.last_reward
            memory.tries[memory.last] += 1
        if self._rule is None or memory.last is None:
            return Reply(action=self._rng.randrange(arms))
        return Reply(action=self._rule(memory)[0])


class SharesHabit:
    """A habit of full-information games."""

    name = "habit"

    def __init__(self, habit: str, rule: PolicyHabit, seed: int) -> None:
        self._habit, self._rule, self._rng = habit, rule, random.Random(seed)
        self._given: list[int] = []

    async def act(self, observation: Observation) -> Reply:
        if observation.feedback_A is None:
            self._given = opening(self._habit, observation.spec.n_actions, self._rng)
        else:
            self._given, _ = self._rule(Shares(self._given, observation.feedback_A.tolist()))
        return Reply(action=tuple(share / 100 for share in self._given))


def habit_players(model: str, env: str) -> Mapping[str, Callable[[int], Player]]:
    """Name -> player of a seed, for the habits that ``model.path=model`` was pre-trained on in the environment ``env``.

    A model is known by its name: ``tiny:NAME``, or a directory that is called KIND-SEED as a built one is. Empty for
    others, and for environments that a tiny model does not know.
    """
    kind, _, seed = Path(model.removeprefix(PREFIX)).name.partition("-")
    built = kind in BUILT and seed.isdecimal()
    if not (built or model.startswith(PREFIX)) or env not in GAMES.get(kind, {}):
        return {}
    known = habits(env, kind)
    if env == "fol":
        return {habit: partial(SharesHabit, habit, rule) for habit, (_, _, rule) in known.items()}
    return {habit: partial(ArmsHabit, rule) for habit, (_, _, rule) in known.items()}
