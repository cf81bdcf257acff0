from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env_plugins.contexts import CONTEXTS
from env_plugins.mab import BanditEnv, BanditGenerator
from env_plugins.mab.parsing import parse_action
from rmft_verl.env import load_env
from rmft_verl.env.check import check_env
from rmft_verl.types import Observation, Scenario

NAMES = ("amber", "blue", "red")
SCENARIO = Scenario("mab", 3, NAMES, "buttons", {"law": "bernoulli", "means": [0.2, 0.9, 0.5]})
NOISY = Scenario("mab", 2, NAMES, "wells", {"law": "gaussian", "means": [0.2, 0.9, 0.5], "noise": 0.3})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"law": ["gaussian"], "contexts": "heldout", "noise": 0.2},
        {
            "arms": [2, 20],
            "horizon": [1, 7],
            "law": ["bernoulli", "gaussian"],
            "min_gap": 0,
            "contexts": ["menu", "wells"],
        },
    ],
)
def test_conforms(options: dict[str, Any]) -> None:
    check_env(BanditEnv, options)
    assert load_env("env_plugins.mab:BanditEnv") is BanditEnv


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Let me see.\nAction: blue", 1),
        ("action: BLUE.", 1),
        ("**Action:** **red**", 2),
        ("**Action**: `red`", 2),
        ('Action: "amber"', 0),
        ("Action: [amber]", 0),
        ("Action: <amber>!", 0),
        ("Action - amber", 0),
        ("Action — amber", 0),
        ("Action =\u00a0amber\u2003", 0),
        ("Action：\u3000ｂｌｕｅ", 1),
        ("Action: the blue button", 1),
        ("Action: button blue", 1),
        ("Action: blue (blue paid well)", 1),
        ("Action: red\nOn reflection:\nAction: blue", 1),
        ("Action: red Action: blue", 1),
        ("Action: red\nThen I hope for the best.", 2),
        ("Action: blue\x00\udcff", 1),
        ("", None),
        ("I think blue is best.", None),
        ("blue", None),
        ("Action:", None),
        ("Action:\nblue", 1),
        ("Action: NAME", None),
        ("Action: green", None),
        ("Action: blueish", None),
        ("Action: blue-ish", None),
        ("Action: blue or red", None),
        ("Action: not blue", None),
        ("Action: red\nAction: green", None),
        ("Transaction: blue", None),
        ("An action-packed blue", None),
        ("\x00\udcff\u202e", None),
    ],
)
def test_parse(text: str, action: int | None) -> None:
    assert BanditEnv(SCENARIO, 0).parse(text) == action


@settings(max_examples=300, deadline=None)
@given(st.text(), st.sampled_from(["", "Action: ", "\n**action** - ", "Action: amber "]), st.text())
def test_parse_survives_any_text(before: str, marker: str, after: str) -> None:
    assert parse_action(before + marker + after, NAMES, "button") in (None, 0, 1, 2)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.sampled_from(NAMES), st.sampled_from(["{}", "**{}**", '"{}".', "({})", " {} ", "The {}!"]))
def test_parse_finds_the_last_line_after_any_text(thought: str, name: str, shape: str) -> None:
    assert parse_action(f"{thought}\nAction: {shape.format(name)}", NAMES, "button") == NAMES.index(name)


@pytest.mark.parametrize(
    "piece", ["action ", "Action: ", "*", "Action:" + " " * 50, "a\u0300\u0316", "action'\"*_`", "\n"]
)
def test_parse_is_linear(piece: str) -> None:
    text = piece * (10_000_000 // len(piece)) + "\nAction: red"
    assert parse_action(text, NAMES, "button") == 2
    assert parse_action("Action: red " + "\u0316\u0300" * 1_000_000, NAMES, "button") == 2


def test_the_dialogue() -> None:
    env = BanditEnv(SCENARIO, 0)
    first = env.reset()
    assert [message.role for message in first.messages] == ["user"]
    text = first.messages[0].content
    assert text.startswith("A panel has 3 buttons: amber, blue, red. You press one button a round, for 3 rounds.")
    assert text.endswith("\nAction: NAME\nwhere NAME is one of the names above.\nRound 1 of 3.")
    assert (first.turn, first.last_action, first.feedback_A) == (0, None, None)
    assert (first.spec.n_actions, first.spec.horizon, first.spec.reward_law) == (3, 3, "bernoulli")
    assert (first.spec.reward_scale, first.spec.full_information) == (0.5, False)
    tape = np.random.default_rng(0).random((3, 3)) < np.array([0.2, 0.9, 0.5])
    result = env.step(1)
    assert (result.reward, result.done) == (tape[0, 1], False)
    assert result.observation is not None and result.observation.feedback_A is not None
    assert result.observation.messages[0].content == f"Button blue paid {int(tape[0, 1])}.\nRound 2 of 3."
    assert (result.observation.turn, result.observation.last_action) == (1, 1)
    np.testing.assert_array_equal(result.observation.feedback_A, [np.nan, tape[0, 1], np.nan])
    env.step(0)
    last = env.step(2)
    assert (last.observation, last.done, last.reward) == (None, True, tape[2, 2])
    oracle = env.oracle()
    assert oracle.kind == "pseudo"
    np.testing.assert_array_equal(oracle.expected_T_A, [[0.2, 0.9, 0.5]] * 3)
    with pytest.raises(RuntimeError, match="all 3 rounds"):
        env.step(0)


def test_gaussian_words_and_numbers_agree() -> None:
    env = BanditEnv(NOISY, 4)
    assert "standard deviation 0.3." in env.reset().messages[0].content
    result = env.step(2)
    expected = round(0.5 + 0.3 * np.random.default_rng(4).standard_normal((2, 3))[0, 2], 2)
    assert result.observation is not None and result.observation.spec.reward_scale == 0.3
    assert result.reward == expected
    assert result.observation.messages[0].content == f"Well red gave {expected:.2f}.\nRound 2 of 2."


def test_one_tape_for_every_play() -> None:
    def rewards(actions: list[int]) -> list[float]:
        env = BanditEnv(SCENARIO, 11)
        env.reset()
        return [env.step(action).reward for action in actions]

    assert rewards([0, 2, 1])[1:] == rewards([1, 2, 1])[1:]


@pytest.mark.parametrize("action", [-1, 3, 0.5, (1.0, 0.0, 0.0)])
def test_step_refuses_what_is_no_arm(action: Any) -> None:
    env = BanditEnv(SCENARIO, 0)
    env.reset()
    with pytest.raises(ValueError, match="use 0 to 2"):
        env.step(action)


def test_published_results_rest_on_these_bytes() -> None:
    """Fifty scenarios of recipes/mab_tiny.yaml and everything said and paid in them, as first released."""
    digest = hashlib.sha256()
    generator = BanditGenerator(arms=[3, 4, 5], horizon=[20], law=["bernoulli"], min_gap=0.1, contexts="basic")
    for seed in range(50):
        scenario = generator.draw(np.random.default_rng(seed))
        digest.update(json.dumps(scenario.to_json()).encode())
        env = BanditEnv(scenario, seed)
        observation: Observation | None = env.reset()
        while observation is not None:
            turn, feedback_A = observation.turn, observation.feedback_A
            digest.update(repr([tuple(message) for message in observation.messages]).encode())
            feedback = None if feedback_A is None else feedback_A.tolist()
            digest.update(repr((turn, observation.last_action, feedback)).encode())
            result = env.step((seed + turn * turn) % len(scenario.actions))
            digest.update(repr((result.reward, result.done)).encode())
            observation = result.observation
        digest.update(repr(env.oracle().expected_T_A.tolist()).encode())
    assert digest.hexdigest() == "752b9e979526a79fab0eeb6b39be53fde31ba95f2ddad3076437b2fa0c0462f7"


def test_more_arms_than_words() -> None:
    generator = BanditGenerator(arms=[45], horizon=[500], min_gap=0, contexts=["buttons"])
    scenario = generator.draw(np.random.default_rng(0))
    assert len(set(scenario.actions)) == 45
    env = BanditEnv(scenario, 0)
    assert [env.parse(f"Action: {name}") for name in scenario.actions] == list(range(45))


def test_told_otherwise() -> None:
    generator = BanditGenerator(contexts=["buttons"], names="heldout", framing="suggestive", answer="action_only")
    scenario = generator.draw(np.random.default_rng(0))
    assert scenario.telling == {"framing": "suggestive", "answer": "action_only"}
    assert not set(scenario.actions) & set(CONTEXTS["buttons"].names)
    told = BanditEnv(scenario, 0).reset().messages[0].content
    plain = BanditEnv(Scenario(*list(vars(scenario).values())[:5]), 0).reset().messages[0].content
    assert CONTEXTS["buttons"].hint in told and CONTEXTS["buttons"].hint not in plain
    assert "Reply with one line and nothing else:\nAction: NAME\n" in told and "Think freely" not in told
    assert told.splitlines()[-1] == plain.splitlines()[-1] == "Round 1 of 20."
    assert BanditGenerator(contexts=["buttons"]).draw(np.random.default_rng(0)).telling == {}
