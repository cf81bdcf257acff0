"""Play algorithms on scenarios: all players meet the same scenarios and draws."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import numpy as np

from rmft_verl.env import Env
from rmft_verl.env.play import Player, play
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import episode_seeds
from rmft_verl.players import can_play, make_player
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.types import RolloutRequest, Scenario, Trajectory

REFERENCES: dict[str, tuple[str, ...]] = {
    "pseudo": ("uniform", "greedy", "ucb1", "thompson"),
    "external": ("uniform", "ftl", "hedge", "ftpl"),
    "dynamic": ("uniform", "ucb1", "sw_ucb", "discounted_ucb", "restarted_exp3"),
    "contextual": ("uniform", "greedy", "ucb1", "thompson", "linucb", "linear_thompson"),
}
"""Oracle kind -> the players that every language model is compared with."""


def references(env_class: type[Env], scenarios: Iterable[Scenario], kinds: Iterable[str]) -> tuple[str, ...]:
    """The reference players of all these kinds of regret that can play every one of the scenarios."""
    scenarios = list(scenarios)
    if all(env_class(scenario, 0).reset().spec.full_information for scenario in scenarios):
        kinds = ["external"]  # whatever the regret, only these players read whole reward vectors
    first, *others = dict.fromkeys(kinds)
    known = [name for name in REFERENCES[first] if all(name in REFERENCES[kind] for kind in others)]
    return tuple(name for name in known if plays_all(name, env_class, scenarios))


def plays_all(name: str, env_class: type[Env], scenarios: Iterable[Scenario]) -> bool:
    """Whether a player of ``PLAYERS`` can play every one of the scenarios."""
    return all(can_play(name, env_class(scenario, 0).reset().spec) for scenario in scenarios)


def evaluate_players(
    env_class: type[Env], names: Sequence[str], scenarios: Sequence[Scenario], episodes: int, seed: int
) -> dict[str, list[Trajectory]]:
    """Play each scenario ``episodes`` times with each named player (``PLAYERS`` or ``oracle``); returns them scored.

    Episode e of scenario i has the seeds ``episode_seeds(seed, i, e)`` for every player. Must not be called from within
    a running event loop.
    """
    requests = [
        RolloutRequest(scenario, *episode_seeds(seed, index, episode))
        for index, scenario in enumerate(scenarios)
        for episode in range(episodes)
    ]
    return {name: play_requests(env_class, name, requests) for name in names}


def play_requests(env_class: type[Env], name: str, requests: Sequence[RolloutRequest]) -> list[Trajectory]:
    """One named player's trajectories, scored. Must not be called from within a running event loop."""

    async def play_all() -> list[Trajectory]:
        return [await _play_named(env_class, name, request) for request in requests]

    return asyncio.run(play_all())


async def play_request(env_class: type[Env], player: Player, request: RolloutRequest) -> Trajectory:
    """One trajectory of a player, scored."""
    scenario, reward_seed, policy_seed = request.scenario, request.reward_seed, request.policy_seed
    env = env_class(scenario, reward_seed)
    return score(await play(env, player, scenario, reward_seed=reward_seed, policy_seed=policy_seed))


async def _play_named(env_class: type[Env], name: str, request: RolloutRequest) -> Trajectory:
    rng = np.random.default_rng(request.policy_seed)
    if name != OraclePlayer.name:
        return await play_request(env_class, make_player(name, rng), request)
    # An environment reveals the truth only after an episode, so uniform plays first.
    first = await play_request(env_class, make_player("uniform", rng), request)
    return await play_request(env_class, OraclePlayer(first.oracle), request)
