"""Worked examples: the form of an answer, from games that are not the one played, before its first message."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from rmft_verl.config import ConfigError
from rmft_verl.env import load_env
from rmft_verl.env.history import NOW, told
from rmft_verl.env.play import play, play_now
from rmft_verl.env.tokens import estimate_tokens, measure_budget
from rmft_verl.main import main
from rmft_verl.players import make_player
from rmft_verl.setup.env_checks import check_fit
from rmft_verl.setup.examples import ROUNDS, SEED, asked_examples, demonstrations, examples_before, worked_examples
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


# ---- demonstrations -------------------------------------------------------------------------------------------------

GAME: dict[str, Any] = {"arms": [3], "horizon": [9], "contexts": ["buttons"]}


def test_both_forms_are_read_and_others_are_refused() -> None:
    assert asked_examples(0) == ("", 0) and asked_examples(3) == ("", 3) and asked_examples("ucb1:5") == ("ucb1", 5)
    for wrong in (-1, "five", "ucb1", "ucb1:", "ucb1:0", "ucb1:-2", "ucb1:1.5", "ucb2:5", ":5", "ucb1:²"):
        with pytest.raises(ConfigError, match=r"^rollout\.examples=.*: write a number of games .* such as ucb1:5$"):
            asked_examples(wrong)
    assert load_config(["recipe=mab_tiny", "rollout.examples=thompson:4"]).rollout.examples == "thompson:4"
    with pytest.raises(ConfigError, match=r"rollout\.examples='hedge' cannot play mab"):
        check_fit(load_config(["recipe=mab_tiny", "rollout.examples=hedge:2"]), load_env("mab"))
    with pytest.raises(ConfigError, match="leave them out"):
        load_config(["recipe=mab_tiny", "rollout.player=ucb1", "rollout.examples=ucb1:5"])


def test_a_dialogue_shows_the_first_rounds_of_a_game_that_the_algorithm_played() -> None:
    env_class = load_env("mab")
    messages = examples_before(env_class, GAME, "ucb1:4", "dialogue")
    assert [message.role for message in messages] == ["user", "assistant"] * 4
    scenario = env_class.Generator(**GAME).draw(np.random.default_rng(SEED))
    player = make_player("ucb1", np.random.default_rng(SEED))
    whole = play_now(env_class, player, scenario, reward_seed=SEED, policy_seed=SEED)
    moves = [f"Action: {scenario.actions[int(str(action))]}" for action in whole.actions_T]
    assert [message.content for message in messages[1::2]] == moves[:4]
    assert len(set(moves[:3])) == 3  # ucb1 tries every arm first
    assert len(examples_before(env_class, GAME, "ucb1:99", "dialogue")) == 2 * 9


@pytest.mark.parametrize("history", ["transcript", "summary", "guided", "notes"])
def test_other_views_show_rounds_spread_over_the_game(history: str) -> None:
    env_class = load_env("mab")
    messages = demonstrations(env_class, GAME, "ucb1", 3, history)
    every = demonstrations(env_class, GAME, "ucb1", 9, history)
    assert messages == [every[place] for place in (0, 1, 8, 9, 16, 17)]
    rounds = [message.content.rpartition("\n")[2] for message in messages[::2]]
    assert rounds == ["Round 1 of 9.", "Round 5 of 9.", "Round 9 of 9."]
    assert ("bonus" in messages[4].content) == (history == "guided")


@pytest.mark.verl
def test_the_plan_says_what_stands_before_the_first_message(capsys: pytest.CaptureFixture[str]) -> None:
    told_by = {"1": "1 worked example", "2": "2 worked examples"}
    told_by |= {"ucb1:1": "1 round that ucb1 played", "ucb1:5": "5 rounds that ucb1 played"}
    for given, said in told_by.items():
        more = [f"rollout.examples={given}", "rollout.history=summary", "model.context=16384"]
        assert main(["recipe=mab_qwen3", *more, "dry_run=true"]) == 0
        assert f"first message: behind {said}\n" in capsys.readouterr().out
