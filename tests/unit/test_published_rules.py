"""The validators of ``hosted_server.published`` on what the providers call good and bad, in our own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hosted_server.published import openai_faults, together_faults

from rmft_verl.bridge.hosted.rules import broken

SYSTEM, USER = {"role": "system", "content": "Answer like a pirate."}, {"role": "user", "content": "Is it raining?"}
REPLY = {"role": "assistant", "content": "Aye, cats and dogs."}
PAIR = {
    "input": {"messages": [USER]},
    "preferred_output": [REPLY],
    "non_preferred_output": [REPLY | {"content": "Yes"}],
}


def file(*examples: Any, times: int = 10) -> bytes:
    return "".join(json.dumps(example) + "\n" for example in examples * times).encode()


GOOD = [
    [SYSTEM, USER, REPLY],
    [USER, REPLY],
    [SYSTEM, USER, REPLY | {"weight": 0}, USER, REPLY | {"weight": 1}],
]

BAD_ANYWHERE: list[tuple[Any, str, str]] = [
    ([], "no list of messages", "no list of messages"),
    ([{"role": "user"}, REPLY], "lacks role or content", "role and content must be text"),
    ([{"content": "Hello"}, REPLY], "lacks role or content", "role and content must be text"),
    ([USER, REPLY | {"content": None}], "without text", "role and content must be text"),
    ([USER, REPLY | {"role": "parrot"}], "an unknown role", "an unknown role"),
    ([USER, REPLY | {"weight": 0.5}], "weight is 0 or 1", "integer 0 or 1"),
]


@pytest.mark.parametrize("messages", GOOD)
def test_what_both_call_good_passes(messages: Any) -> None:
    assert openai_faults(file({"messages": messages})) == together_faults(file({"messages": messages})) == []
    assert broken({"messages": messages}, 10, 100) == ""


@pytest.mark.parametrize(("messages", "openai", "together"), BAD_ANYWHERE)
def test_what_both_call_bad_is_found_by_both_and_by_us(messages: Any, openai: str, together: str) -> None:
    content = file({"messages": messages})
    assert openai in openai_faults(content)[0] and together in together_faults(content)[0]
    assert broken({"messages": messages}, 10, 100)


@pytest.mark.parametrize(
    ("example", "why"),
    [
        ({"messages": [USER, REPLY | {"mood": "grim"}]}, "unknown key"),
        ({"messages": [SYSTEM, USER]}, "no message of the assistant"),
        ({"messages": [USER, REPLY | {"content": ""}]}, "without text"),
        ({"messages": [USER | {"weight": 1}, REPLY]}, "of the assistant's messages"),
    ],
)
def test_what_openai_alone_calls_bad(example: Any, why: str) -> None:
    assert why in openai_faults(file(example))[0] and broken(example, 10, 100)


def test_openai_wants_ten_lines_of_json() -> None:
    assert openai_faults(file({"messages": GOOD[0]}, times=9)) == ["9 examples, 10 are needed"]
    assert openai_faults(file({"messages": GOOD[0]}) + b"{oops\n") == ["line 11: no JSON"]
    assert openai_faults(file([GOOD[0]]))[0] == "line 1: no object"


@pytest.mark.parametrize(
    ("example", "why"),
    [
        ({"messages": GOOD[0], "text": "a second format"}, "other columns"),
        ({"messages": [USER, USER, REPLY]}, "must alternate"),
        ({"messages": [REPLY, USER]}, "neither system nor user"),
    ],
)
def test_what_together_alone_calls_bad(example: Any, why: str) -> None:
    assert why in together_faults(file(example))[0]


def test_a_preference_that_both_call_good_passes() -> None:
    assert openai_faults(file(PAIR), preference=True) == together_faults(file(PAIR), preference=True) == []
    assert broken(PAIR, 10, 100) == ""


@pytest.mark.parametrize(
    ("change", "openai", "together"),
    [
        ({"input": {}}, "no input with messages", "no input with messages"),
        ({"preferred_output": []}, "does not end with", "exactly one message"),
        ({"non_preferred_output": [USER]}, "does not end with", "exactly one message"),
        ({"preferred_output": [REPLY | {"content": None}]}, "no text", "must be text"),
        ({"preferred_output": [REPLY, REPLY]}, "", "exactly one message"),
        ({"verdict": "the first"}, "", "other columns"),
    ],
)
def test_a_preference_that_one_calls_bad_is_found(change: Any, openai: str, together: str) -> None:
    content = file(PAIR | change)
    found = openai_faults(content, preference=True)
    assert (openai in found[0]) if openai else not found
    assert together in together_faults(content, preference=True)[0]
