"""Parses a free reply into a point of the simplex. Only the last ``Policy:`` counts.

The parser reads two forms, on the rest of the marker's line:

    Policy: amber 0.7, azure 0.3        named, in any order; also ``amber: 70%``, ``amber = 7/10``, ``amber (0.7)``
    Policy: [0.7, 0.3]                  one number for every action, in the order the actions were listed

Numbers are decimals with a point, percentages with their sign, fractions, or scientific notation. A comma always
separates: ``0,7`` is two numbers, because ``[0,1]`` cannot be told from a decimal comma.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

SUM_TOLERANCE = 0.02
"""Shares that sum to 1 within this (2 percentage points) are divided by their sum; others are not a policy."""

_MOST_CHARACTERS = 200
"""Longest line per action; a longer line is not a policy. This bounds the memory of the patterns below."""

# The word, some markdown, a separator. A hyphen needs a space after it, or "policy-driven" would be an answer.
_MARKER = re.compile(r"(?<![^\W_])(?<![^\W_]_)policy[\s*_`\"']{0,8}(?:[:=：–—]|-(?=\s))", re.IGNORECASE)
_LINE_END = re.compile(r"[\n\r\v\f\x85\u2028\u2029]")
_DECIMAL = r"(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:e[+-]?[0-9]{1,3})?"
# No letter, digit, point or sign may touch a number: "-0.3", "0.3.7" and "x3" are none. A full stop may end it.
_NUMBER = re.compile(rf"({_DECIMAL})(?:\s{{0,4}}[/⁄]\s{{0,4}}({_DECIMAL}))?(\s{{0,4}}%)?(?![\w%/⁄+-]|\.\w)")
_AFTER_NAME = re.compile(r"[\s*_`\"')\]]{0,20}(?::|=>?|->|→|[-–—](?=\s))")
_SKIP = re.compile(r"(?:[\s,;|()\[\]{}<>*_`\"'&]+|and(?!\w)|\.(?![0-9]))+")
_WIDE = {0xFF01 + i: 0x21 + i for i in range(94)} | {ord("、"): ","}
"""Full-width forms and the Chinese comma, as some models write them."""


def parse_policy(text: str, names: Sequence[str]) -> tuple[float, ...] | None:
    """The distribution over ``names`` after the last ``Policy:`` of ``text``, or None.

    All entries are at least 0 and sum to 1 within 1e-12. A name left out has share 0. None if the sum is off by more
    than ``SUM_TOLERANCE``, a share is negative, not finite or above 1 by more than that, a name is unknown or comes
    twice, or the line holds any other word or is too long. Case does not matter. Linear in the length of ``text``;
    never raises.
    """
    start = -1
    for marker in _MARKER.finditer(text):
        start = marker.end()
    if start < 0:
        return None
    end = _LINE_END.search(text, start)
    line = text[start : end.start() if end else len(text)]
    if len(line) > _MOST_CHARACTERS * len(names):
        return None
    tokens = _tokens(line.translate(_WIDE).casefold(), tuple(name.casefold() for name in names))
    return None if tokens is None else _policy(tokens, len(names))


def _tokens(line: str, names: tuple[str, ...]) -> list[int | float] | None:
    """Indices of names (int) and shares (float) in their order; None if the line holds anything else or too many."""
    pattern = _name_pattern(names)
    tokens: list[int | float] = []
    position = _past(_SKIP, line, 0)
    while position < len(line):
        if name := pattern.match(line, position):
            tokens.append(names.index(name.group()))
            position = _past(_AFTER_NAME, line, name.end())
        elif number := _NUMBER.match(line, position):
            tokens.append(_value(*number.groups()))
            position = number.end()
        else:
            return None
        if len(tokens) > 2 * len(names):
            return None
        position = _past(_SKIP, line, position)
    return tokens


def _value(number: str, denominator: str | None, percent: str | None) -> float:
    """The share as a float, in [0, inf] or NaN."""
    value = float(number)
    if denominator is not None:
        below = float(denominator)
        value = value / below if below > 0 else math.nan
    return value / 100 if percent else value


def _policy(tokens: list[int | float], n_actions: int) -> tuple[float, ...] | None:
    if all(isinstance(token, float) for token in tokens) and len(tokens) == n_actions:
        shares = [float(token) for token in tokens]
    else:
        named, given = tokens[::2], tokens[1::2]
        alternate = all(isinstance(name, int) for name in named) and all(isinstance(share, float) for share in given)
        if not alternate or len(named) != len(given) or len(set(named)) != len(named):
            return None
        by_name = dict(zip(named, given, strict=True))
        shares = [float(by_name[i]) if i in by_name else 0.0 for i in range(n_actions)]
    if not all(share <= 2 for share in shares):  # refuses NaN too, and the sum below cannot overflow
        return None
    total = math.fsum(shares)
    if abs(total - 1) > SUM_TOLERANCE + 1e-9:
        return None
    return tuple(shares) if abs(total - 1) <= 1e-12 else tuple(share / total for share in shares)


def _past(pattern: re.Pattern[str], line: str, position: int) -> int:
    found = pattern.match(line, position)
    return found.end() if found else position


@lru_cache(maxsize=1024)
def _name_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(map(re.escape, longest_first))})(?![^\W_])")
