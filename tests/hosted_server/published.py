"""The rules for training files that two providers have published, as checks of the bytes that would be uploaded.

OpenAI: the notebook on data preparation of its cookbook, its guides to supervised fine-tuning and to direct preference
optimization, and the schema of ``weight``. Together: the check of its Python client (``together.utils.files``) and its
page on data preparation. Read on 2026-11-29 in stored copies. Nothing of rmft_verl is used here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

FEWEST = 10
"""OpenAI's smallest file, in examples; Together's clients have had other limits at other times."""

OPENAI_KEYS = {"role", "content", "name", "function_call", "weight"}
OPENAI_ROLES = ("system", "user", "assistant", "function")
TOGETHER_ROLES = ("system", "user", "assistant", "tool")
BRANCHES = ("preferred_output", "non_preferred_output")


def openai_faults(content: bytes, preference: bool = False) -> list[str]:
    """What OpenAI's rules say against a file; empty if nothing."""
    lines = content.decode("utf-8-sig").splitlines()
    few = [f"{len(lines)} examples, {FEWEST} are needed"] if len(lines) < FEWEST else []
    return few + _numbered(lines, _openai_pair if preference else _openai_chat)


def together_faults(content: bytes, preference: bool = False) -> list[str]:
    """What Together's rules say against a file; empty if nothing."""
    return _numbered(content.decode("utf-8").splitlines(), _together_pair if preference else _together_chat)


def _numbered(lines: Iterable[str], check: Callable[[dict[str, Any]], str]) -> list[str]:
    faults = []
    for number, line in enumerate(lines, start=1):
        try:
            example = json.loads(line)
        except ValueError:
            faults.append(f"line {number}: no JSON")
            continue
        fault = check(example) if isinstance(example, dict) else "no object"
        faults += [f"line {number}: {fault}"] if fault else []
    return faults


def _openai_chat(example: dict[str, Any]) -> str:
    messages = example.get("messages")
    if not isinstance(messages, list) or not messages:
        return "no list of messages"
    for message in messages:
        if fault := _openai_message(message):
            return fault
    return "" if any(message["role"] == "assistant" for message in messages) else "no message of the assistant"


def _openai_message(message: dict[str, Any]) -> str:
    if "role" not in message or "content" not in message:
        return "a message lacks role or content"
    if set(message) - OPENAI_KEYS:
        return "a message has an unknown key"
    if message["role"] not in OPENAI_ROLES:
        return "an unknown role"
    if not message["content"] or not isinstance(message["content"], str):
        return "a message without text"
    if "weight" in message and (message["role"] != "assistant" or message["weight"] not in (0, 1)):
        return "weight is 0 or 1, of the assistant's messages"
    return ""


def _openai_pair(example: dict[str, Any]) -> str:
    if not isinstance(asked := example.get("input"), dict) or not asked.get("messages"):
        return "no input with messages"
    for message in asked["messages"]:
        if fault := _openai_message(message):
            return fault
    for branch in BRANCHES:
        said = example.get(branch)
        if not isinstance(said, list) or not said or said[-1].get("role") != "assistant":
            return f"{branch} does not end with a message of the assistant"
        if any(message.get("role") not in ("assistant", "tool") or not message.get("content") for message in said):
            return f"{branch} has another role than assistant and tool, or no text"
    return ""


def _together_chat(example: dict[str, Any]) -> str:
    if set(example) != {"messages"}:
        return "other columns than messages"
    return _together_messages(example["messages"]) or (
        "" if example["messages"][0]["role"] in ("system", "user") else "it begins with neither system nor user"
    )


def _together_messages(messages: Any) -> str:
    if not isinstance(messages, list) or not messages:
        return "no list of messages"
    before = None
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            return "role and content must be text"
        if "weight" in message and (not isinstance(message["weight"], int) or message["weight"] not in (0, 1)):
            return "weight must be the integer 0 or 1"
        if message["role"] not in TOGETHER_ROLES:
            return "an unknown role"
        if message["role"] == before:
            return "user and assistant must alternate"
        before = message["role"]
    return ""


def _together_pair(example: dict[str, Any]) -> str:
    if set(example) != {"input", *BRANCHES}:
        return f"other columns than input, {', '.join(BRANCHES)}"
    if not isinstance(example["input"], dict) or "messages" not in example["input"]:
        return "no input with messages"
    if fault := _together_messages(example["input"]["messages"]):
        return fault
    for branch in BRANCHES:
        said = example[branch]
        if not isinstance(said, list) or len(said) != 1 or said[0].get("role") != "assistant":
            return f"{branch} is not exactly one message of the assistant"
        if fault := _together_messages(said):
            return fault
    return ""
