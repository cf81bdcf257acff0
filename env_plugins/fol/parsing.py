"""Parses a free reply into a point of the simplex. docs/environments.md states the rule.

The parser reads three forms, on one line or with one share a line:

    Policy: amber 0.7, azure 0.3        named, in any order; also ``amber: 70%``, ``amber = 7/10``, ``amber (0.7)``
    Policy: 0.7 amber, 30% to azure     the share before its name
    Policy: [0.7, 0.3]                  one number for every action, in the order the actions were listed

Numbers are decimals with a point, percentages with their sign or word, fractions, or scientific notation. A comma
always separates: ``0,7`` is two numbers, because ``[0,1]`` cannot be told from a decimal comma.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from env_plugins.answer_line import last_answer, name_pattern

SUM_TOLERANCE = 0.02
"""Shares that sum to 1 within this (2 percentage points) are divided by their sum; others are not a policy."""

_MOST_CHARACTERS = 200
"""Longest answer per action; a longer one is not a policy. This bounds the memory of the patterns below."""

_DECIMAL = r"(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:e[+-]?[0-9]{1,3})?"
# No letter, digit, point or sign may touch a number: "-0.3", "0.3.7" and "x3" are none. A full stop may end it.
_NUMBER = re.compile(
    rf"({_DECIMAL})(?:\s{{0,4}}[/⁄]\s{{0,4}}({_DECIMAL}))?(\s{{0,4}}(?:%|per\s?cent))?(?![\w%/⁄+-]|\.\w)"
)
_AFTER_NAME = r"(?:\s{{1,4}}{option}(?!\w))?[\s*_`\"')\]}}$]{{0,20}}(?::|=>?|->|→|[-–—](?=\s))"
_SKIP = (
    r"(?:[\s,;|()\[\]{{}}<>*_`\"'&$]+"
    r"|(?:and|the|of|to|with|gets|pr?|probability|share|weight|{option})(?!\w)|\.(?![0-9]))+"
)
_BULLET = re.compile(r"\s{0,20}(?:[-*•+–]|[0-9]{1,2}[.)])\s{1,4}(?=\S)")
_TOTAL = re.compile(
    r"(?<![^\W_])(?:(?:which|they)\s)?(?:sums?|total)(?:\s(?:to|is))?[\s:=]{0,4}(?:1(?:\.0{0,9})?|100\s?%)[)\]\s.*]{0,9}$"
)
_REASON = re.compile(r"(?<![^\W_])(?:because|since|as|given|due)(?!\w)[^0-9%]*$")
_REMARK = re.compile(r"(?<=[0-9%)\]}])[.!]\s{1,4}(?!(?:or|not|no|but|wait|actually|then|next)(?!\w))[^0-9%]*$")
"""What may follow a policy: its sum, a reason without numbers, and a sentence without numbers and names."""


def parse_policy(text: str, names: Sequence[str], option: str = "option") -> tuple[float, ...] | None:
    """The distribution over ``names`` that the last answer of ``text`` states, or None.

    All entries are at least 0 and sum to 1 within 1e-12. A name left out has share 0. None if the sum is off by more
    than ``SUM_TOLERANCE``, a share is negative, not finite or above 1 by more than that, a name is unknown or comes
    twice, or the answer holds any other word or is too long. ``option`` is the noun for one action, which may stand
    beside its name. Case does not matter. Linear in the length of ``text``; never raises.
    """
    folded = tuple(name.casefold() for name in names)

    def read(line: str, below: list[str]) -> tuple[float, ...] | None:
        return _read([each.casefold() for each in (line, *below)], folded, option.casefold())

    return last_answer(text, ("policy", "answer"), names, read, _MOST_CHARACTERS * len(names))


def _read(lines: list[str], names: tuple[str, ...], option: str) -> tuple[float, ...] | None:
    """The policy on the marker's line, else that line's and of all lines below that hold only names and shares."""
    tokens: list[int | float] = []
    for n, line in enumerate(lines):
        content = line[_past(_BULLET, line, 0) :] if n else line  # on the marker's line a dash may be a sign
        found = _tokens(content, names, option)
        if found is None and n > 0 and not name_pattern(names).match(content):
            break  # a sentence after the policy
        if found is None or len(tokens) > 2 * len(names):
            return None
        tokens += found
        if n == 0 and (policy := _policy(tokens, len(names))) is not None:
            return policy
    return _policy(tokens, len(names))


def _tokens(line: str, names: tuple[str, ...], option: str) -> list[int | float] | None:
    """Indices of names (int) and shares (float) in their order; None if the line holds anything else or too many."""
    pattern, (skip, after_name) = name_pattern(names), _patterns(option)
    line = _REASON.sub("", _TOTAL.sub("", line))
    line = _REMARK.sub(lambda found: found.group() if pattern.search(found.group()) else ".", line)
    tokens: list[int | float] = []
    position = _past(skip, line, 0)
    while position < len(line):
        if name := pattern.match(line, position):
            tokens.append(names.index(name.group()))
            position = _past(after_name, line, name.end())
        elif number := _NUMBER.match(line, position):
            tokens.append(_value(*number.groups()))
            position = number.end()
        else:
            return None
        if len(tokens) > 2 * len(names):
            return None
        position = _past(skip, line, position)
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
        if tokens and isinstance(tokens[0], float):  # "0.7 amber, 0.3 azure"
            named, given = given, named
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


@lru_cache(maxsize=256)
def _patterns(option: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What may stand between names and shares, and what joins a name to its share."""
    skip, after_name = (form.format(option=re.escape(option)) for form in (_SKIP, _AFTER_NAME))
    return re.compile(skip), re.compile(after_name)
