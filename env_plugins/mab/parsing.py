"""Parses a free reply into an action. Only the last ``Action: NAME`` counts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# The word, some markdown, a separator. A hyphen needs a space after it, or "action-packed" would be an answer.
_MARKER = re.compile(r"(?<!\w)action[\s*_`\"']{0,8}(?:[:=：–—]|-(?=\s))", re.IGNORECASE)
_LINE_END = re.compile(r"[\n\r\v\f\x85\u2028\u2029]")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_MAX_LINE = 500
"""Characters of the answer line that are read. It bounds the cost of Unicode normalization, which is not linear."""


def parse_action(text: str, names: Sequence[str], option: str) -> int | None:
    """Index of the action named after the last ``Action:`` of ``text``, or None.

    The line must begin with the name (markdown, quotes, brackets, "the" and the word ``option`` before it are skipped)
    and may not name another action. Case does not matter. Linear in the length of ``text``; never raises.
    """
    start = -1
    for marker in _MARKER.finditer(text):
        start = marker.end()
    if start < 0:
        return None
    line = _LINE_END.split(text[start : start + _MAX_LINE], maxsplit=1)[0]
    words = _WORD.findall(unicodedata.normalize("NFKC", line).casefold())
    while words and words[0] in ("the", option):
        words.pop(0)
    index = {name.casefold(): i for i, name in enumerate(names)}
    named = {index[word] for word in words if word in index}
    return named.pop() if len(named) == 1 and words[0] in index else None
