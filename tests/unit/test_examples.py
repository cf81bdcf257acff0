"""Worked examples: the form of an answer, from games that are not the one played, before its first message."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from rmft_verl.config import ConfigError
from rmft_verl.env import load_env
from rmft_verl.env.history import NOW, told
from rmft_verl.env.play import play
from rmft_verl.env.tokens import estimate_tokens, measure_budget
from rmft_verl.players import make_player
from rmft_verl.setup.examples import ROUNDS, worked_examples
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Message, Observation

OPTIONS: dict[str, dict[str, Any]] = {
    "mab": {"arms": [3], "horizon": [5], "answer": "action_only"},
    "fol": {"horizon": [5]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_they_alternate_and_every_answer_is_read(name: str) -> None:
    messages = worked_examples(load_env(name), OPTIONS[name], 2)
    assert [message.role for message in messages] == ["user", "assistant"] * 2 * ROUNDS
    openings = [message.content for message in messages[:: 2 * ROUNDS]]
    assert len(set(openings)) == 2 and all("Round 1 of 5." in opening for opening in openings)
    assert messages == worked_examples(load_env(name), OPTIONS[name], 2)  # one set for all plays of a run
    assert messages[: 2 * ROUNDS] == worked_examples(load_env(name), OPTIONS[name], 1)


def test_they_show_no_strategy() -> None:
    """Over many examples every arm is chosen alike, in the first round and after a reward."""
    messages = worked_examples(load_env("mab"), OPTIONS["mab"], 900)
    moves = np.array(
        [
            messages[start].content.partition("\n")[0].find(messages[start + 2 * turn + 1].content.split()[-1])
            for start in range(0, len(messages), 2 * ROUNDS)
            for turn in range(ROUNDS)
        ]
    ).reshape(-1, ROUNDS)
    assert (moves >= 0).all()
    again = np.mean(moves[:, 1] == moves[:, 0])
    assert again == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 900))


@pytest.mark.parametrize("history", ["dialogue", "summary"])
def test_they_stand_where_a_dialogue_begins(history: str) -> None:
    env_class = load_env("mab")
    scenario = env_class.Generator(**OPTIONS["mab"]).draw(np.random.default_rng(1))
    examples = worked_examples(env_class, OPTIONS["mab"], 1)
    seen: list[Observation] = []

    class Watching:
        name = "watching"

        def __init__(self) -> None:
            self._player = make_player("uniform", np.random.default_rng(0))

        async def act(self, observation: Observation) -> Any:
            seen.append(observation)
            return await self._player.act(observation)

    game = told(env_class(scenario, 3), scenario, history, examples)
    played = asyncio.run(play(game, Watching(), scenario, reward_seed=3, policy_seed=0))
    assert played.valid
    plain = told(env_class(scenario, 3), scenario, history).reset().messages
    assert seen[0].messages == (*examples, Message("user", NOW + plain[0].content))
    fresh = [observation.messages[: len(examples)] == tuple(examples) for observation in seen]
    assert fresh == ([True] * 5 if history == "summary" else [True] + [False] * 4)


def test_the_budget_counts_them() -> None:
    env_class, options = load_env("mab"), OPTIONS["mab"]
    examples = worked_examples(env_class, options, 2)
    without, behind = (
        measure_budget(env_class, [options], 12, estimate_tokens, "dialogue", messages) for messages in ([], examples)
    )
    added = estimate_tokens([*examples, Message("user", NOW)], True) - 10
    assert behind.prompt_tokens - without.prompt_tokens == pytest.approx(1.125 * added, abs=4)
    assert behind.observation_tokens == without.observation_tokens


def test_an_algorithm_needs_none() -> None:
    with pytest.raises(ConfigError, match="leave them out"):
        load_config(["recipe=mab_tiny", "rollout.player=ucb1", "rollout.examples=1"])
