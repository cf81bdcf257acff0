"""Games before the first message, as turns of the chat: worked examples of a form, or demonstrations of an algorithm.

A worked example is played by a uniform player, so that it shows the form of an answer and no strategy. Demonstrations
are the few-shot prompts of EVOLvE (Nie et al. 2025): rounds of a game that an algorithm played. All trajectories of a
run see the same, so the sampler computes them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rmft_verl.algo.distill import teach
from rmft_verl.config import ConfigError
from rmft_verl.env import Env, make_generator
from rmft_verl.players import PLAYERS
from rmft_verl.setup.warmup import PLAYER
from rmft_verl.types import Message, RolloutRequest, Turn

ROUNDS = 3
"""Rounds of each worked example; fewer if the game is shorter."""

SEED = 0x5E5
"""Seed of the games and their moves; no training or held-out scenario is drawn from it."""


class Examples(NamedTuple):
    """What ``rollout.examples`` asks for."""

    player: str
    """Who plays; empty for worked examples."""
    number: int
    """Games of worked examples, or rounds of a demonstration."""


def asked_examples(value: int | str) -> Examples:
    """Read ``rollout.examples``, N or PLAYER:N; ``ConfigError`` for anything else."""
    name, separator, count = value.rpartition(":") if isinstance(value, str) else ("", "", str(value))
    number = int(count) if count.isascii() and count.isdigit() else -1
    if number < (1 if separator else 0) or (separator and name not in PLAYERS):
        raise ConfigError(
            f"rollout.examples={value}: write a number of games of at least 0, or PLAYER:ROUNDS with one of "
            f"{', '.join(PLAYERS)}, such as ucb1:5"
        )
    return Examples(name, number)


def examples_before(env_class: type[Env], options: Mapping[str, Any], value: int | str, history: str) -> list[Message]:
    """The messages before the first one that ``rollout.examples`` asks for; ``env_class`` must have ``say``."""
    player, count = asked_examples(value)
    if player:
        return demonstrations(env_class, options, player, count, history)
    return worked_examples(env_class, options, count)


def worked_examples(env_class: type[Env], options: Mapping[str, Any], count: int) -> list[Message]:
    """The messages of ``count`` games with these options, replies included."""
    generator, rng = make_generator(env_class, options), np.random.default_rng(SEED)
    requests = [RolloutRequest(generator.draw(rng), SEED + n, SEED + n) for n in range(count)]
    games = teach(env_class, PLAYER, "dialogue", requests)
    return _messages([turn for trajectory in games for turn in trajectory.turns[:ROUNDS]])


def demonstrations(
    env_class: type[Env], options: Mapping[str, Any], player: str, count: int, history: str
) -> list[Message]:
    """``count`` rounds of one game with these options that ``player`` played, told in the view ``history``.

    A ``dialogue`` has the first rounds, because a round needs those before it. In the other views each stands alone:
    they are spread evenly over the game, its first and last round included. A shorter game gives all its rounds.
    """
    scenario = make_generator(env_class, options).draw(np.random.default_rng(SEED))
    (game,) = teach(env_class, player, history, [RolloutRequest(scenario, SEED, SEED)])
    if history == "dialogue" or count >= scenario.horizon:
        return _messages(game.turns[:count])
    places = np.linspace(0, scenario.horizon - 1, count).round().astype(int)
    return _messages([game.turns[place] for place in places.tolist()])


def _messages(turns: Sequence[Turn]) -> list[Message]:
    return [message for turn in turns for message in (*turn.messages, Message("assistant", turn.text))]
