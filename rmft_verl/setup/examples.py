"""Worked examples before the first message: the first rounds of other games, as turns of the chat.

A uniform player plays them, so that they show the form of an answer and no strategy. All trajectories of a run see the
same examples, so the sampler computes them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rmft_verl.algo.distill import teach
from rmft_verl.env import Env, make_generator
from rmft_verl.setup.warmup import PLAYER
from rmft_verl.types import Message, RolloutRequest

ROUNDS = 3
"""Rounds of each example; fewer if the game is shorter."""

SEED = 0x5E5
"""Seed of the games and their moves; no training or held-out scenario is drawn from it."""


def worked_examples(env_class: type[Env], options: Mapping[str, Any], count: int) -> list[Message]:
    """The messages of ``count`` games with these options, replies included. ``env_class`` must have ``say``."""
    generator, rng = make_generator(env_class, options), np.random.default_rng(SEED)
    requests = [RolloutRequest(generator.draw(rng), SEED + n, SEED + n) for n in range(count)]
    messages: list[Message] = []
    for trajectory in teach(env_class, PLAYER, "dialogue", requests):
        for turn in trajectory.turns[:ROUNDS]:
            messages += [*turn.messages, Message("assistant", turn.text)]
    return messages
