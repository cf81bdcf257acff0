"""What a reply says outside its thoughts, ``<think>...</think>`` and the like."""

from __future__ import annotations

import re

CLOSE = "</think>"
"""Ends a thought, whatever tag opened it."""

_TAG = re.compile(r"[<\[◁](/?)(?:seed:)?(?:think|thinking|thought|reasoning)[>\]▷]", re.IGNORECASE)


def spoken(text: str) -> str:
    """``text`` without its thoughts. An unclosed thought runs to the end. Linear in the length of ``text``.

    Text before a closing tag that nothing opened is a thought too: the opening tag may stand in the prompt.
    """
    return "\n".join(_parts(text)[0])


def thinks(text: str) -> bool:
    """Whether ``text`` ends inside a thought that it opened."""
    return _parts(text)[1]


def _parts(text: str) -> tuple[list[str], bool]:
    """The pieces outside thoughts, and whether a thought is open at the end."""
    parts: list[str] = []
    position, inside = 0, False
    for tag in _TAG.finditer(text):
        if not tag.group(1):
            if not inside:
                parts.append(text[position : tag.start()])
            inside = True
            continue
        if not inside:
            parts.clear()
        position, inside = tag.end(), False
    return (parts if inside else [*parts, text[position:]]), inside
