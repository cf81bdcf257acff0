"""An algorithm as the player to imitate: it plays the environment by numbers and says its moves in words.

Algorithm distillation (Nie et al. 2024; Chen et al. 2026) is then the loop of this project with another player.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.env import Env
from rmft_verl.history import told
from rmft_verl.play import Player, play
from rmft_verl.players import make_player
from rmft_verl.types import Observation, Reply, RolloutRequest, Trajectory


class Teacher:
    """Says what ``player`` does, through ``env.say``; what was said is what is played."""

    def __init__(self, player: Player, env: Any) -> None:
        self.name = player.name
        self._player, self._env = player, env

    async def act(self, observation: Observation) -> Reply:
        reply = await self._player.act(observation)
        return Reply(text=self._env.say(reply.action))


def teach(env_class: type[Env], name: str, history: str, requests: Sequence[RolloutRequest]) -> list[Trajectory]:
    """The plays of the requests by the algorithm ``name``, with what it says; not yet scored."""
    return [_play(env_class, name, history, request) for request in requests]


def _play(env_class: type[Env], name: str, history: str, request: RolloutRequest) -> Trajectory:
    scenario, env = request.scenario, env_class(request.scenario, request.reward_seed)
    teacher = Teacher(make_player(name, np.random.default_rng(request.policy_seed)), env)
    game = told(env, scenario, history)
    reward_seed, policy_seed = request.reward_seed, request.policy_seed
    return asyncio.run(play(game, teacher, scenario, reward_seed=reward_seed, policy_seed=policy_seed))
