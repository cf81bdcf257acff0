"""An algorithm as the player to imitate: it reads numbers and writes its actions as text.

Algorithm distillation (Nie et al. 2024; Chen et al. 2026) is then the loop of this project with another player.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.env import Env
from rmft_verl.env.history import told
from rmft_verl.env.play import Player, play
from rmft_verl.players import make_player
from rmft_verl.types import Observation, Reply, RolloutRequest, Trajectory

THOUGHTS = (
    "",
    "Let me see.",
    "Let me think about this round.",
    "A new round, a new choice.",
    "I have read the names and what came of them.",
    "I think about what I was told.",
    "Here is what I do now.",
    "It is time to decide.",
    "There is something to be said for each of them.",
    "I have made up my mind for this round.",
    "One of the names above has to be chosen.",
    "Well, I go on.",
    "I weigh what I know and answer.",
    "My answer for this round follows.",
    "Looking at the dialogue so far, I choose.",
    "Nobody tells me which one is right, so I choose.",
)
"""What the uniform player says before its action if thinking is asked for: the form of a thought without a reason."""


WORDS = 1
"""Seed of the random stream for these texts, apart from that for actions."""


class Teacher:
    """Writes the actions of ``player`` with ``env.say``; the text decides what is played."""

    def __init__(
        self,
        player: Player,
        env: Any,
        words: np.random.Generator,
        thoughts: Sequence[str] = ("",),
        one_option: bool = False,
    ) -> None:
        """``thoughts``: every reply begins with one, drawn from ``words`` and not from the stream for actions.

        ``one_option``: replies name one option, so one is drawn from ``words`` by the shares of a distribution.
        """
        self.name, self._one_option = player.name, one_option
        self._player, self._env, self._words, self._thoughts = player, env, words, thoughts

    async def act(self, observation: Observation) -> Reply:
        action = (await self._player.act(observation)).action
        thought = self._thoughts[int(self._words.integers(len(self._thoughts)))]
        if self._one_option and isinstance(action, tuple):
            chosen = int(self._words.choice(len(action), p=action))
            action = tuple(float(a == chosen) for a in range(len(action)))
        return Reply(text=f"{thought}\n{self._env.say(action)}".lstrip())


def teach(env_class: type[Env], name: str, history: str, requests: Sequence[RolloutRequest]) -> list[Trajectory]:
    """Let the algorithm ``name`` play the requests; returns trajectories with text, not yet scored."""
    return [_play(env_class, name, history, request) for request in requests]


def _play(env_class: type[Env], name: str, history: str, request: RolloutRequest) -> Trajectory:
    scenario, env = request.scenario, env_class(request.scenario, request.reward_seed)
    words = np.random.default_rng([WORDS, request.policy_seed])
    thinks = name == "uniform" and scenario.telling.get("answer") != "action_only"
    player = make_player(name, np.random.default_rng(request.policy_seed))
    one_option = scenario.telling.get("choice") == "option"
    teacher = Teacher(player, env, words, THOUGHTS if thinks else ("",), one_option)
    game = told(env, scenario, history)
    reward_seed, policy_seed = request.reward_seed, request.policy_seed
    return asyncio.run(play(game, teacher, scenario, reward_seed=reward_seed, policy_seed=policy_seed))
