"""What a provider refuses in a file of dialogues, told before anything is uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROLES = ("system", "user", "assistant")


BRANCHES = ("preferred_output", "non_preferred_output")
"""Keys of the two replies of a preference."""


def sequences(line: Mapping[str, Any]) -> list[list[Any]]:
    """The dialogues that an example trains on: one of ``chat-jsonl``, two with a common beginning of a preference."""
    if "input" not in line:
        return [line.get("messages") or []]
    return [[*line["input"]["messages"], *line[branch]] for branch in BRANCHES]


def broken(line: Mapping[str, Any], tokens: float, most_tokens: int) -> str:
    """Why an example, whose longest dialogue has about so many ``tokens``, would be refused; empty if it would not."""
    found = [_broken(messages) for messages in sequences(line)]
    if any(found):
        return next(fault for fault in found if fault)
    if tokens > most_tokens:
        return f"it has about {tokens:,.0f} tokens, and {most_tokens:,} are allowed"
    return ""


def _broken(messages: Any) -> str:
    if not isinstance(messages, list) or not messages:
        return "it holds no messages"
    for place, message in enumerate(messages):
        if fault := _fault(message, place):
            return f"message {place + 1} {fault}"
    if messages[-1]["role"] != "assistant":
        return f"it ends with a message of {messages[-1]['role']}, not with a reply"
    if not any(message.get("weight", 1) for message in messages if message["role"] == "assistant"):
        return "none of its replies is trained on"
    return ""


def _fault(message: Any, place: int) -> str:
    if not isinstance(message, dict) or set(message) - {"role", "content", "weight"}:
        return "is not role, content and weight"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return f"is of {role!r}, not of {', '.join(ROLES)}"
    if role == "system" and place:
        return "is of system, which may only come first"
    if not isinstance(content, str) or not content.strip():
        return "is empty"
    if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1)):
        return f"has weight {message['weight']!r}: replies alone have one, 0 or 1"
    return ""
