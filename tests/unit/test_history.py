"""The past told in one prompt a round, against prompts written out by hand."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from rmft_verl.env import load_env
from rmft_verl.env.history import told
from rmft_verl.env.play import play
from rmft_verl.players.scripted import Scripted
from rmft_verl.types import GameSpec, Message, Observation, Oracle, Scenario, StepResult, Trajectory

BANDIT = Scenario("mab", 4, ("amber", "blue"), "buttons", {"law": "bernoulli", "means": [1.0, 0.0]})
RULES = "RULES"


class Market:
    """Full information, told in dollars; its rules do not end in a line that asks for the move."""

    name = "market"
    Generator: type = object

    def __init__(self) -> None:
        self._turn = 0

    def reset(self) -> Observation:
        return self._observe(RULES, None)

    def parse(self, text: str) -> tuple[float, ...] | None:
        return (1.0, 0.0) if text == "left" else None

    def step(self, action: object) -> StepResult:
        self._turn += 1
        rewards_A = np.array([0.5, 0.25]) * self._turn
        return StepResult(self._observe(f"left {rewards_A[0]}\nNext?", rewards_A), 0.0, False)

    def oracle(self) -> Oracle:
        return Oracle(np.zeros((3, 2)), "external")

    def _observe(self, text: str, feedback_A: np.ndarray | None) -> Observation:
        spec = GameSpec(2, 3, "bounded", full_information=True, shown_scale=100.0, unit="dollars")
        return Observation((Message("user", text),), spec, self._turn, None, feedback_A)


def bandit_prompts(history: str) -> list[str]:
    env = told(load_env("mab")(BANDIT, 0), BANDIT, history)
    observations: list[Observation | None] = [env.reset()]
    for arm in (0, 1, 0):
        observations.append(env.step(arm).observation)
    assert env.step(0).observation is None
    assert all(seen is not None and seen.fresh and len(seen.messages) == 1 for seen in observations)
    return [seen.messages[0].content for seen in observations if seen is not None]


def test_a_dialogue_is_the_environment_itself() -> None:
    env = load_env("mab")(BANDIT, 0)
    assert told(env, BANDIT, "dialogue") is env


def test_a_transcript_repeats_every_report() -> None:
    first, *later = bandit_prompts("transcript")
    assert first.endswith("\nRound 1 of 4.")
    assert later == [
        f"{first}\nButton amber paid 1.\nRound 2 of 4.",
        f"{first}\nButton amber paid 1.\nRound 2 of 4.\nButton blue paid 0.\nRound 3 of 4.",
        f"{first}\nButton amber paid 1.\nRound 2 of 4.\nButton blue paid 0.\nRound 3 of 4.\nButton amber paid 1.\n"
        "Round 4 of 4.",
    ]


def test_a_summary_has_counts_and_averages() -> None:
    first, *later = bandit_prompts("summary")
    rules = first.removesuffix("Round 1 of 4.")
    assert later == [
        f"{rules}So far, after 1 rounds: amber 1 times, average 1.00; blue never.\nRound 2 of 4.",
        f"{rules}So far, after 2 rounds: amber 1 times, average 1.00; blue 1 times, average 0.00.\nRound 3 of 4.",
        f"{rules}So far, after 3 rounds: amber 2 times, average 1.00; blue 1 times, average 0.00.\nRound 4 of 4.",
    ]


def test_a_summary_of_a_full_information_game_averages_every_action_in_its_unit() -> None:
    env = told(Market(), Scenario("market", 3, ("left", "right"), "c", {}), "summary")
    assert env.reset().messages[0].content == RULES
    first, second = env.step((1.0, 0.0)).observation, env.step((1.0, 0.0)).observation
    assert first is not None and second is not None
    expected = "RULES\nSo far, after 1 rounds: left average 50.00 dollars; right average 25.00 dollars.\nNext?"
    assert first.messages[0].content == expected
    assert "after 2 rounds: left average 75.00 dollars; right average 37.50" in second.messages[0].content


def test_the_game_is_the_same_and_a_second_try_continues_the_prompt() -> None:
    def played(history: str) -> Trajectory:
        env = told(load_env("mab")(BANDIT, 3), BANDIT, history)
        player = Scripted(["Action: blue", "?", "Action: amber", "Action: blue", "Action: amber"])
        return asyncio.run(play(env, player, BANDIT, reward_seed=3, policy_seed=0, on_invalid="reask"))

    one, other = played("dialogue"), played("summary")
    assert one.actions_T == other.actions_T == (1, 0, 1, 0)
    assert [turn.reward for turn in one.turns] == [turn.reward for turn in other.turns]
    assert one.turns[2].messages == other.turns[2].messages  # the request to answer again, nothing else


def test_an_unknown_history_is_refused() -> None:
    with pytest.raises(ValueError, match="Known: dialogue, transcript, summary"):
        told(Market(), BANDIT, "film")
