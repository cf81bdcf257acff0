"""The loop in which every player plays: the language model, an algorithm or the oracle."""

from __future__ import annotations

import asyncio
import dataclasses
import traceback
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from rmft_verl.env import Env
from rmft_verl.types import Action, Message, Observation, Oracle, Reply, Scenario, StopReason, Trajectory, Turn

Result = TypeVar("Result")

ON_INVALID = ("uniform", "reask", "end")
"""Rules for a reply that names no action: a uniform action, one more try (then uniform), or the end of the episode."""

CLARIFY = Message("user", "I could not find your choice. Please answer again and end with the required last line.")


class Player(Protocol):
    """Anything that chooses actions. Every episode needs a new player."""

    name: str

    async def act(self, observation: Observation) -> Reply: ...


async def play(
    env: Env,
    player: Player,
    scenario: Scenario,
    *,
    reward_seed: int,
    policy_seed: int,
    on_invalid: str = "uniform",
) -> Trajectory:
    """Play one episode and return its trajectory, the oracle's truth included.

    ``reward_seed`` is the seed ``env`` was built with; ``policy_seed`` also seeds the uniform action that replaces an
    unparsable reply. An exception in the environment or the player is data: it ends the episode with
    ``StopReason.ERROR``, its traceback and no oracle. Only this function and ``check_env`` call ``env.oracle()``.
    """
    fallback = np.random.default_rng([policy_seed, 1])
    turns: list[Turn] = []
    error = ""
    try:
        stop = await _rounds(env, player, turns, on_invalid, fallback)
        oracle = env.oracle()
    except Exception:  # a bad rollout is data, whatever was raised
        stop, error = StopReason.ERROR, traceback.format_exc()
        oracle = Oracle(np.full((scenario.horizon, len(scenario.actions)), np.nan), "none")
    return Trajectory(scenario, player.name, tuple(turns), oracle, stop, reward_seed, policy_seed, error=error)


async def _rounds(
    env: Env, player: Player, turns: list[Turn], on_invalid: str, fallback: np.random.Generator
) -> StopReason:
    observation: Observation | None = env.reset()
    while observation is not None:
        asked = observation
        while True:
            reply = await player.act(asked)
            if reply.exhausted:
                return StopReason.LENGTH
            action = reply.action
            if action is None and not reply.control:
                action = env.parse(reply.text)
            if action is not None or on_invalid != "reask" or asked is not observation:
                break
            turns.append(Turn(asked.messages, reply.text, None, None, False, reply.cut))
            asked = dataclasses.replace(observation, messages=(CLARIFY,), fresh=False)
        parsed = action is not None
        if action is None:
            if on_invalid == "end":
                turns.append(Turn(asked.messages, reply.text, None, None, False, reply.cut))
                return StopReason.INVALID
            action = _uniform(observation, fallback)
        result = env.step(action)
        turns.append(Turn(asked.messages, reply.text, action, result.reward, parsed, reply.cut))
        observation = result.observation
    return StopReason.COMPLETED


def _uniform(observation: Observation, rng: np.random.Generator) -> Action:
    n_actions = observation.spec.n_actions
    if observation.spec.full_information:
        return (1.0 / n_actions,) * n_actions
    return int(rng.integers(n_actions))


def play_now(
    env_class: type[Env],
    player: Player,
    scenario: Scenario,
    *,
    reward_seed: int,
    policy_seed: int,
    on_invalid: str = "uniform",
) -> Trajectory:
    """``play`` for callers that do not wait; builds the environment as well."""
    env = env_class(scenario, reward_seed)
    return run_now(play(env, player, scenario, reward_seed=reward_seed, policy_seed=policy_seed, on_invalid=on_invalid))


def run_now(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What ``coroutine`` returns. Within a running event loop, as in a notebook, it runs in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
