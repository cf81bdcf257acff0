"""The past told in one prompt a round, against prompts written out by hand."""

from __future__ import annotations

import asyncio
import re

import numpy as np
import pytest

from env_plugins.cb import ContextualBanditEnv
from env_plugins.mab import BanditEnv
from rmft_verl.env import load_env
from rmft_verl.env.guide import MEANING
from rmft_verl.env.history import note, told
from rmft_verl.env.play import play
from rmft_verl.players import make_player
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


def test_notes_add_what_was_said_before_the_last_action() -> None:
    env = told(load_env("mab")(BANDIT, 3), BANDIT, "notes")
    replies = [
        "<think>Hm: blue.</think>Look around [once].\nAction: blue",
        "Action: amber",
        "No idea",
        "So amber.\nAction: amber",
    ]
    played = asyncio.run(play(env, Scripted(replies), BANDIT, reward_seed=3, policy_seed=0))
    summary = told(load_env("mab")(BANDIT, 3), BANDIT, "summary")
    observation: Observation | None = summary.reset()
    plain = []
    for turn in played.turns:
        assert observation is not None
        plain.append(observation.messages[0].content.rpartition("\n"))
        observation = summary.step(turn.action).observation
    said = ["", "\nYour last note: Look around once .", "", ""]
    expected = [f"{before}{note}\n{asked}" for (before, _, asked), note in zip(plain, said, strict=True)]
    assert [turn.messages[0].content for turn in played.turns] == expected


def test_a_note_is_short_and_begins_no_turn() -> None:
    assert note("a" * 500) == "a" * 300 and note("first\n\n second ") == "first second"
    assert note("<|im_end|>\n<|im_start|>system {{ x }} [INST] </s>") == "im_end im_start system x INST /s"
    assert note("<think>secret") == note("") == ""


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
    with pytest.raises(ValueError, match="Known: dialogue, transcript, summary, guided, notes"):
        told(Market(), BANDIT, "film")


# ---- the algorithm's guide ------------------------------------------------------------------------------------------


def test_a_guide_adds_the_bonus_of_ucb1() -> None:
    first, *later = bandit_prompts("guided")
    rules, told_at = first.removesuffix("Round 1 of 4."), f"{MEANING}\nRound"
    assert bandit_prompts("summary")[0] == first
    assert later == [
        f"{rules}So far, after 1 rounds: amber 1 times, average 1.00, bonus 1.00; blue never, bonus unlimited. "
        f"{told_at} 2 of 4.",
        f"{rules}So far, after 2 rounds: amber 1 times, average 1.00, bonus 1.00; blue 1 times, average 0.00, bonus "
        f"1.00. {told_at} 3 of 4.",
        f"{rules}So far, after 3 rounds: amber 2 times, average 1.00, bonus 0.71; blue 1 times, average 0.00, bonus "
        f"1.00. {told_at} 4 of 4.",
    ]


def test_a_guide_of_a_contextual_bandit_estimates_the_case_at_hand_in_its_unit() -> None:
    game = {"law": "gaussian", "noise": 0.25, "contexts": [[1.0, 0.0], [-0.5, 0.5], [0.0, 1.0]]}
    game |= {"weights": [[1.0, 0.0], [-1.0, 2.0]]}
    scenario = Scenario("cb", 3, ("indigo", "bronze"), "docks", game)
    env = told(ContextualBanditEnv(scenario, 0), scenario, "guided")
    first = env.reset().messages[0].content
    result = env.step(0)
    assert result.observation is not None
    # Indigo: V = diag(2, 1), b = (r, 0), so theta = (r / 2, 0). In the case (-0.5, 0.5) its estimate is -r / 4 and its
    # bonus 2 x 0.25 x sqrt(1/8 + 1/4) = 0.306; bronze has 0 and 2 x 0.25 x sqrt(1/4 + 1/4) = 0.354. 60 minutes are 1.
    estimate = -result.reward / 4 * 60
    assert result.observation.messages[0].content == (
        f"{first.rpartition(chr(10))[0]}\nSo far, after 1 rounds: indigo 1 times, in this case {estimate:.2f} minutes, "
        f"bonus 18.37 minutes; bronze never, in this case 0.00 minutes, bonus 21.21 minutes. {MEANING}\n"
        "Round 2 of 3. The case: -0.50, 0.50."
    )


@pytest.mark.parametrize(("name", "env_class"), [("ucb1", BanditEnv), ("linucb", ContextualBanditEnv)])
def test_the_algorithm_plays_the_largest_sum_of_its_guide(name: str, env_class: type[BanditEnv]) -> None:
    scenario = env_class.Generator(arms=[3], horizon=[30], contexts=["buttons"]).draw(np.random.default_rng(2))
    env, player = told(env_class(scenario, 1), scenario, "guided"), make_player(name, np.random.default_rng(0))
    observation: Observation | None = env.reset()
    agreed = 0
    while observation is not None:
        arm = asyncio.run(player.act(observation)).action
        told_A = re.findall(
            r"(?:average|in this case) (-?[\d.]+)[^,;]*, bonus ([\d.]+)", observation.messages[0].content
        )
        if len(told_A) == 3:
            sums_A = [float(number) + float(bonus.rstrip(".")) for number, bonus in told_A]
            assert sums_A[int(str(arm))] > max(sums_A) - 0.021
            agreed += 1
        observation = env.step(int(str(arm))).observation
    assert agreed >= 27


def test_without_doubt_a_guide_is_the_summary() -> None:
    scenario = Scenario("market", 3, ("left", "right"), "c", {})
    prompts = []
    for history in ("guided", "summary"):
        env = told(Market(), scenario, history)
        env.reset()
        seen = env.step((1.0, 0.0)).observation
        assert seen is not None
        prompts.append(seen.messages[0].content)
    assert prompts[0] == prompts[1]


def test_a_case_with_negative_numbers_does_not_repeat_the_first_round_in_a_summary() -> None:
    game = {"law": "gaussian", "noise": 0.25, "contexts": [[1.0], [-0.5]], "weights": [[1.0], [-1.0]]}
    scenario = Scenario("cb", 2, ("indigo", "bronze"), "docks", game)
    env = told(ContextualBanditEnv(scenario, 0), scenario, "summary")
    env.reset()
    second = env.step(0).observation
    assert second is not None and "Round 1 of 2" not in second.messages[0].content
    assert second.messages[0].content.endswith("; bronze never.\nRound 2 of 2. The case: -0.50.")
