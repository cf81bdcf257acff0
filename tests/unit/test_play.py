from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
from toy_bandit import ToyBandit, toy_scenario

from rmft_verl.env.play import CLARIFY, play, play_now
from rmft_verl.env.regret import score
from rmft_verl.players.scripted import Scripted
from rmft_verl.types import Action, Observation, Reply, Scenario, StepResult, StopReason, Trajectory

SCENARIO = toy_scenario([0.0, 1.0], 3)


def run(*script: str | Action, on_invalid: str = "uniform", policy_seed: int = 0) -> Trajectory:
    return play_now(
        ToyBandit, Scripted(script), SCENARIO, reward_seed=7, policy_seed=policy_seed, on_invalid=on_invalid
    )


def test_a_complete_episode_holds_everything_that_was_said_and_paid() -> None:
    played = run("1", "0", "1")
    assert played.stop_reason is StopReason.COMPLETED and played.valid and played.error == ""
    assert played.actions_T == (1, 0, 1)
    assert [turn.reward for turn in played.turns] == [1.0, 0.0, 1.0]
    assert [turn.text for turn in played.turns] == ["1", "0", "1"]
    assert played.messages[0].content == "round 0 after None paid nan"
    assert played.messages[2].content == "round 1 after 1 paid 1.0"
    assert [message.role for message in played.messages] == ["user", "assistant"] * 3
    assert played.oracle.expected_T_A.tolist() == [[0.0, 1.0]] * 3
    assert (played.player, played.reward_seed, played.policy_seed, played.policy_version) == ("scripted", 7, 0, -1)
    assert score(played).regret == 1.0


def test_numbers_and_words_play_the_same_game() -> None:
    assert run("1", "0", "1").actions_T == run(1, 0, 1).actions_T


def test_action_zero_is_an_action() -> None:
    assert run(0, 0, 0).actions_T == (0, 0, 0)


def test_uniform_replaces_an_unparsable_reply_and_marks_it() -> None:
    played = run("1", "help", "1")
    assert [turn.parsed for turn in played.turns] == [True, False, True]
    assert played.turns[1].action in (0, 1) and played.turns[1].reward is not None
    assert played.stop_reason is StopReason.COMPLETED and not played.valid


def test_the_uniform_replacement_is_a_function_of_the_policy_seed() -> None:
    replaced = [run("x", "x", "x", policy_seed=seed).actions_T for seed in range(20)]
    assert replaced == [run("x", "x", "x", policy_seed=seed).actions_T for seed in range(20)]
    assert {action for actions in replaced for action in actions} == {0, 1}


def test_reask_asks_once_more_without_playing_a_round() -> None:
    played = run("help", "1", "0", "1", on_invalid="reask")
    assert [(turn.action, turn.parsed) for turn in played.turns] == [(None, False), (1, True), (0, True), (1, True)]
    assert played.turns[0].reward is None
    assert played.turns[1].messages == (CLARIFY,)
    assert played.actions_T == (1, 0, 1)
    assert played.asked_again == (True, False, False, False) and played.rounds == played.turns[1:]
    assert played.stop_reason is StopReason.COMPLETED and played.valid


def test_reask_falls_back_to_uniform_after_the_second_try() -> None:
    played = run("help", "help", "0", "1", on_invalid="reask")
    assert [turn.parsed for turn in played.turns] == [False, False, True, True]
    assert played.turns[0].action is None and played.turns[1].action in (0, 1)
    assert len([turn for turn in played.turns if turn.action is not None]) == 3
    assert not played.valid


def test_end_stops_at_the_unparsable_reply() -> None:
    played = run("1", "help", "1", on_invalid="end")
    assert played.stop_reason is StopReason.INVALID and not played.valid
    assert [turn.action for turn in played.turns] == [1, None] and played.rounds == played.turns
    assert played.actions_T == (1, None, None)
    assert score(played).regret == pytest.approx(0 + 0.5 + 0.5)


def test_a_player_without_room_ends_the_episode() -> None:
    played = run("1", "1")
    assert played.stop_reason is StopReason.LENGTH and not played.valid
    assert played.actions_T == (1, 1, None)
    assert score(played).regret == pytest.approx(0.5)


def test_a_cut_reply_is_not_valid_even_if_it_parsed() -> None:
    class Long(Scripted):
        async def act(self, observation: Observation) -> Reply:
            return dataclasses.replace(await super().act(observation), cut=True)

    played = play_now(ToyBandit, Long(["1", "1", "1"]), SCENARIO, reward_seed=0, policy_seed=0)
    assert played.stop_reason is StopReason.COMPLETED
    assert all(turn.parsed and turn.cut for turn in played.turns) and not played.valid


def test_a_player_that_raises_is_data() -> None:
    class Faulty:
        name = "faulty"

        async def act(self, observation: Observation) -> Reply:
            if observation.turn == 1:
                raise ArithmeticError("lost count")
            return Reply(action=1)

    played = play_now(ToyBandit, Faulty(), SCENARIO, reward_seed=0, policy_seed=0)
    assert played.stop_reason is StopReason.ERROR and not played.valid
    assert "ArithmeticError: lost count" in played.error and "Traceback" in played.error
    assert len(played.turns) == 1
    assert played.oracle.kind == "none" and np.isnan(played.oracle.expected_T_A).all()
    assert played.oracle.expected_T_A.shape == (3, 2)
    assert score(played).regret is None


def test_an_environment_that_raises_is_data() -> None:
    played = run(1, 5, 1)
    assert played.stop_reason is StopReason.ERROR
    assert "IndexError: no arm 5" in played.error


def test_the_truth_is_asked_for_only_after_the_last_round() -> None:
    calls: list[str] = []

    class Watched(ToyBandit):
        def __init__(self, scenario: Scenario, seed: int) -> None:
            super().__init__(scenario, seed)

        def step(self, action: Action) -> StepResult:
            calls.append("step")
            return super().step(action)

        def oracle(self):  # type: ignore[no-untyped-def]
            calls.append("oracle")
            return super().oracle()

    play_now(Watched, Scripted([1, 1, 1]), SCENARIO, reward_seed=0, policy_seed=0)
    assert calls == ["step", "step", "step", "oracle"]


def test_one_reward_seed_is_one_tape() -> None:
    scenario = toy_scenario([0.5, 0.5], 50)

    def rewards(reward_seed: int, policy_seed: int) -> list[float | None]:
        played = play_now(ToyBandit, Scripted([1] * 50), scenario, reward_seed=reward_seed, policy_seed=policy_seed)
        return [turn.reward for turn in played.turns]

    assert rewards(1, 0) == rewards(1, 9)
    assert rewards(1, 0) != rewards(2, 0)


def test_play_runs_inside_an_event_loop() -> None:
    async def both() -> list[Trajectory]:
        plays = (
            play(ToyBandit(SCENARIO, seed), Scripted([1, 1, 1]), SCENARIO, reward_seed=seed, policy_seed=0)
            for seed in (0, 1)
        )
        return list(await asyncio.gather(*plays))

    assert [played.actions_T for played in asyncio.run(both())] == [(1, 1, 1), (1, 1, 1)]


def test_a_caller_within_an_event_loop_plays_too() -> None:
    """As every cell of a notebook is."""

    async def cell() -> Trajectory:
        return run("1", "0", "1")

    assert asyncio.run(cell()).actions_T == (1, 0, 1)
