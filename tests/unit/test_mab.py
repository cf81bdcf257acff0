from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from env_plugins.mab import BanditEnv, BanditGenerator
from env_plugins.contexts import CONTEXTS, SPLITS
from env_plugins.mab.parsing import parse_action
from rmft_verl.env import check_env, load_env
from rmft_verl.types import Scenario

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
        ("Action:\nblue", None),
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


def test_contexts_are_many_and_distinct() -> None:
    assert len(SPLITS["basic"]) == 12 and len(SPLITS["basic_heldout"]) == 4
    for context in CONTEXTS.values():
        assert len(set(context.names)) == len(context.names) >= 20
        assert all(name.isalpha() and name.islower() for name in context.names)
        assert context.option not in context.names
        scene = context.scene.format(K=3, T=20, names="amber, blue, red")
        assert all(part in scene for part in (" 3 ", "20 ", "amber, blue, red"))
    assert len({context.scene for context in CONTEXTS.values()}) == len(CONTEXTS)


def test_draws_respect_the_options() -> None:
    generator = BanditGenerator(arms=[2, 4], horizon=[5, 6], min_gap=0.3, mean_low=0.2, mean_high=0.8)
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(200)]
    assert {len(scenario.actions) for scenario in scenarios} == {2, 4}
    assert {scenario.horizon for scenario in scenarios} == {5, 6}
    assert {scenario.context for scenario in scenarios} == {context.key for context in SPLITS["train"]}
    for scenario in scenarios:
        means = np.sort(scenario.game["means"])
        assert means[-1] - means[-2] >= 0.3 and means[0] >= 0.2 and means[-1] <= 0.8
        assert set(scenario.actions) <= set(CONTEXTS[scenario.context].names)


def test_names_say_nothing() -> None:
    generator = BanditGenerator(arms=[3], contexts=["buttons"])
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(3000)]
    best = [scenario.actions[int(np.argmax(scenario.game["means"]))] for scenario in scenarios]
    counts = [best.count(name) for name in CONTEXTS["buttons"].names]
    assert min(counts) > 100 and max(counts) < 200  # 150 expected, standard deviation 12
    positions = [int(np.argmax(scenario.game["means"])) for scenario in scenarios]
    assert all(900 < positions.count(position) < 1100 for position in range(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": [1]}, r"arms has 1: use whole numbers of at least 2, at most 20"),
        ({"arms": [21]}, r"arms has 21"),
        ({"arms": [2.5]}, r"arms has 2\.5"),
        ({"arms": []}, r"arms is empty"),
        ({"horizon": [0]}, r"horizon has 0: use whole numbers of at least 1"),
        ({"law": ["poisson"]}, r"law has 'poisson': use bernoulli or gaussian"),
        ({"contexts": "tests"}, r"contexts='tests': use basic, "),
        ({"contexts": ["casino"]}, r"contexts has 'casino': choose from buttons, "),
        ({"contexts": []}, r"contexts is empty"),
        ({"min_gap": 0.9}, r"min_gap=0\.9: too wide for 5 means"),
        ({"min_gap": -0.1}, r"min_gap=-0\.1"),
        ({"min_gap": "big"}, r"min_gap='big': use a finite number"),
        ({"mean_low": 0.9, "mean_high": 0.1}, r"mean_low=0\.9: must be below mean_high"),
        ({"mean_high": 1.5}, r"Bernoulli means lie within 0 and 1"),
        ({"noise": 0.0}, r"noise=0\.0"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        BanditGenerator(**options)
    assert "\n" not in str(error.value)
