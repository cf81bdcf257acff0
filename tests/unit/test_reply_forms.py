"""The rule of docs/environments.md for reading replies, form by form: what is accepted as which action, what is not."""

from __future__ import annotations

import time

import pytest

from env_plugins.fol.parsing import parse_policy
from env_plugins.mab.parsing import parse_action
from rmft_verl.env.thoughts import spoken, thinks

NAMES = ("amber", "blue", "red")
PAIR = ("amber", "azure")
HALVES = (0.5, 0.5)

BLUE = [
    # what stands before the name
    r"Action: \boxed{blue}",
    r"Action: $\boxed{\text{blue}}$",
    r"Action: \text{blue}",
    r"\boxed{Action: blue}",
    "Action: press blue",
    "Action: Press the blue button",
    "Action: I choose blue",
    "Action: I'll go with the blue button.",
    "Action: I will stick with blue again",
    "Action: my choice is blue",
    "Action: 2 (blue)",
    "Action: 2. blue",
    "Action: B) blue",
    "Action: (B) blue",
    "Action: option 2: blue",
    "Action: #2 blue",
    "Action: 🙂 blue",
    "Action: ｂｌｕｅ",
    "Action: I want to press the one called blue",
    "Ａｃｔｉｏｎ： Ｂｌｕｅ",
    "Action: “blue”",
    # what stands after it
    "Action: blue (because red failed)",
    "Action: blue, since red paid 0",
    "Action: blue, since red and amber paid 0.",
    "Action: blue, not red",
    "Action: blue, not red or amber",
    "Action: blue (not red)",
    "Action: blue instead of red",
    "Action: blue rather than the red button",
    "Action: the blue button, because red or amber failed",
    "Action: blue - it paid more than red",
    "Action: blue is better than red",
    "Action: blue (not tried yet)",
    "Action: blue. This tells me more about red.",
    "Action: blue. I press blue because red failed.",
    "Action: blue<br>Reason: red failed",
    "Action: blue and hope for the best",
    "Action: blue because blue is the best",
    "Action: blue</s>",
    "Action: blue<|im_end|>",
    # the marker
    "Action:\nblue",
    "**Action:**\n\n**blue**\n",
    "Action:\n```\nblue\n```",
    "```\nAction: blue\n```",
    "Action:\nI choose blue.\nThis is my last word on red.",
    "Action (round 3): blue",
    "Action for round 3: blue",
    "Action in this round: blue",
    "Action #3: blue",
    "**Action (round 3):** blue",
    "Round 3 action: blue",
    "Action is: blue",
    "Action chosen: blue",
    r"\textbf{Action}: blue",
    "Answer: blue",
    "**Final Answer:** blue",
    "<b>Action:</b> blue",
    "<b>Action</b>: <i>blue</i>",
    "<answer>Action: blue</answer>",
    '{"action": "blue"}',
    '{"action": {"name": "blue"}}',
    "I think it pays, so action: blue",
    "On reflection, my action: blue",
    # an answer, then something that is none
    "Action: blue\nAction: NAME",
    "Action: blue\nAction: <name>",
    "Action: blue\nAction: [action]",
    "Action: blue\nAction: [your choice]",
    "Action: blue\nAction: NAME\nwhere NAME is one of the names above.",
    "Action: blue\nAction: ...",
    "Action: blue\nAction:",
    "Action: blue\nThis action: better than red",
    "Action: blue\nReasoning behind this action: red failed.",
    "Action: blue\nThe reason for the action: it pays.",
    "Action: blue\nI explain my action: it has the best average.",
    "Action: blue\nMy last action: red",
    # thoughts
    "<think>Action: red</think>Action: blue",
    "<think>Action: red</think>\n\nAction: blue",
    "Perhaps Action: red\n</think>\nAction: blue",
    "<THINKING>Action: red</THINKING> Action: blue",
    "[THINK]Action: red[/THINK]Action: blue",
    "<think></think>Action: blue",
    "Action: blue\n<think>Was red better? Action: red",
    "<think>a <think> b</think>Action: blue",
]

NOTHING = [
    "Action: blue or green",
    "Action: blue or red",
    "Action: either blue or red",
    "Action: blue/red",
    "Action: blue / green",
    "Action: blue, red",
    "Action: blue and red",
    "Action: blue & red",
    "Action: blue vs red",
    "Action: blue then red",
    "Action: blue, then red",
    "Action: blue, or perhaps red",
    "Action: blue (or red)",
    "Action: blue (red)",
    "Action: blue, maybe red",
    "Action: blue because it pays, or red",
    "Action: blue because it pays, but red is untested",
    "Action: blue, wait, red",
    "Action: blue. Red",
    "Action: blue. Or red",
    "Action: blue. Better: red",
    "Action: blue. Alternatively, red",
    "Action: blue. My choice: red",
    "Action: blue. It may fail. Then, red",
    "Action: blue? No, red",
    "Action: blue... actually red",
    "Action: blue, since it pays. No, I choose red",
    "Action: red failed, so blue",
    "Action: red, since blue failed, so red and then blue",
    "Action: red failed; blue",
    "Action: red is worse than blue",
    "Action: red not as good as blue",
    "Action: 1. red 2. blue",
    "Action: not blue",
    "Action: not blue but red",
    "Action: anything but blue",
    "Action: avoid blue",
    "Action: I would not press blue",
    "Action: don't press blue",
    "Action: never blue",
    "Action: blue is not good",
    "Action: ≠blue",
    "Action: probably blue",
    "Action: since red failed, blue",
    "Action: switch from red to blue",
    "Action: better than red",
    "Action: 2",
    "Action: B",
    "Action: NAME",
    "Action: <name>",
    "Action: NAME, one of blue and red",
    "Action: green",
    "Action: red\nAction: green",
    "Action: red\nAction: not blue",
    "Action: red\nAction: blue or amber",
    "Action: red\nMy action: trust",
    "This action: blue",
    "My last action: blue",
    "<think>I think Action: red",
    "<think>Action: red</think>",
    "<think>Action: red</think>\nBlue it is.",
    "I think Action: red\n</think>",
    "I think Action: red\n</think>\n\nred",
    "[THINK]Action: red",
]


@pytest.mark.parametrize("text", BLUE)
def test_an_arm_is_chosen(text: str) -> None:
    assert parse_action(text, NAMES, "button") == NAMES.index("blue")


@pytest.mark.parametrize("text", NOTHING)
def test_no_arm_is_chosen(text: str) -> None:
    assert parse_action(text, NAMES, "button") is None


@pytest.mark.parametrize(
    "text",
    [
        r"Policy: amber 50\%, azure 50\%",
        "Policy: amber $0.5$, azure $0.5$",
        r"Policy: amber $50\%$, azure $50\%$",
        r"Policy: amber \frac{1}{2}, azure \frac{1}{2}",
        r"Policy: $\text{amber}: \dfrac{1}{2}, \text{azure}: \dfrac{1}{2}$",
        r"Policy: \boxed{amber 0.5, azure 0.5}",
        r"Policy: \[0.5, 0.5\]",
        "Policy: amber 50 percent, azure 50 per cent",
        "Policy: button amber 0.5, button azure 0.5",
        "Policy: the amber button: 0.5, the azure button: 0.5",
        "Policy: amber 0.5, azure 0.5 (sum = 1)",
        "Policy: amber 0.5, azure 0.5 (total: 1.0)",
        "Policy: amber 50%, azure 50%, sum: 100%.",
        "Policy: amber 0.5, azure 0.5, which sum to 1",
        "Policy: “amber”: 0.5, “azure”: 0.5",
        "Policy: ‘amber’ 0.5, ‘azure’ 0.5",
        "Policy: amber 0.5, azure 0.5</s>",
        "Policy: amber 0.5, azure 0.5<|im_end|>",
        "Ｐｏｌｉｃｙ： ａｍｂｅｒ ０．５， ａｚｕｒｅ ０．５",
        "Policy: amber 0.5, azure 0.5 because both pay",
        "Policy:\namber 0.5, azure 0.5",
        "Policy:\n- amber: 0.5\n- azure: 0.5",
        "Policy:\n\n* **amber**: 0.5\n* **azure**: 0.5\n\nThis is safe.",
        "Policy:\n1. amber 0.5\n2. azure 0.5",
        "Policy:\n1) amber 0.5\n2) azure 0.5",
        "Policy: amber 0.5,\nazure 0.5",
        'Policy: {\n  "amber": 0.5,\n  "azure": 0.5\n}',
        'Policy:\n```json\n{\n  "amber": 0.5,\n  "azure": 0.5\n}\n```\nDone.',
        '```json\n{\n  "policy": {\n    "amber": 0.5,\n    "azure": 0.5\n  }\n}\n```',
        "Policy: [\n0.5,\n0.5\n]",
        "Policy (round 3): amber 0.5, azure 0.5",
        "Policy for round 3: amber 0.5, azure 0.5",
        "Policy #3: amber 0.5, azure 0.5",
        "<b>Policy:</b> amber 0.5, azure 0.5",
        "Answer: amber 0.5, azure 0.5",
        "Policy: amber 0.5, azure 0.5\nPolicy: NAME SHARE, NAME SHARE, ...",
        "Policy: amber 0.5, azure 0.5\nPolicy: <name> <share>",
        "Policy: amber 0.5, azure 0.5\nReasoning behind the policy: amber 1 would be too bold.",
        "Policy: amber 0.5, azure 0.5\nI explain my policy: both pay.",
        "<think>Policy: amber 1</think>Policy: amber 0.5, azure 0.5",
        "So Policy: amber 1\n</think>\nPolicy: amber 0.5, azure 0.5",
    ],
)
def test_halves_are_read(text: str) -> None:
    assert parse_policy(text, PAIR, "button") == pytest.approx(HALVES, abs=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "<think>Policy: amber 1",
        "<think>Policy: amber 1</think>",
        "So Policy: amber 1\n</think>",
        "Policy: amber 1\nPolicy: azure 1 or amber 1",
        "Policy: not amber 1",
        "Policy: - 0.5, 0.5",
        "Policy: amber 1 or azure 1",
        "Policy: amber 1 because azure paid 0",
        "Policy: amber 0.5, azure 0.5 (sum = 2)",
        "Policy: amber about 0.5, azure about 0.5",
        "Policy:\n- amber: 1\n- azure: 0.3",
        "Policy:\n- amber: 1\n- azure: perhaps a little",
        "Policy:\nI like both\namber 0.5, azure 0.5",
        "Policy: amber 0.5\nBut azure 0.5",
        "Policy: NAME 0.5, NAME 0.5",
        "This policy: amber 1",
        "The last policy: amber 1",
        r"Policy: amber \frac{1}{0}",
        "Policy:\n- amber: 1" + " " * 400 + "\n- azure: 0.5",
    ],
)
def test_no_policy_is_read(text: str) -> None:
    assert parse_policy(text, PAIR, "button") is None


@pytest.mark.parametrize(
    "piece",
    [
        *("<think>", "</think>", "<think>Action: red</think>", "Action: NAME\n", "this action: red ", "Policy:\n"),
        *("Action for round ", "Action (", "\\text{", "\\frac{1}{", "</a", "<b x", "```", "<|", "because ", "not "),
        *("action: x ", "ａ：", "“", "answer</b>", "sum = 1 ", "Policy: amber 0.1,\n", "Action:\n\n"),
    ],
)
def test_hostile_replies_cost_little(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    start = time.process_time()
    for before in ("", "Action: ", "Policy: "):
        parse_action(before + text, NAMES, "button")
        parse_policy(before + text, PAIR, "button")
    assert time.process_time() - start < 15


def test_what_is_said_outside_thoughts() -> None:
    assert spoken("a<think>b</think>c<think>d") == "a\nc" and thinks("a<think>b</think>c<think>d")
    assert spoken("a</think>b") == "b" and not thinks("a</think>b")
    assert spoken("plain") == "plain" and spoken("") == ""
