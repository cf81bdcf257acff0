"""Replies that test a parser: some follow the instructions, others no parser expects."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

import numpy as np

from rmft_verl.env import Env
from rmft_verl.env.check.rules import blaming, require
from rmft_verl.types import Action

SIZES = (10_000, 100_000, 1_000_000)
"""Characters of the long replies, shortest first, so that a slow parser is found before it takes minutes."""

MOST_SECONDS = 5.0
"""CPU time a reply of 1 MB may take; a linear parser needs a hundredth of it."""

SUM_TOLERANCE = 1e-9

ODD = (
    *("NAME", "-1", "0", "999", "1.5", "1e999", "nan", "-inf", "True", "None", "[]", "{}", "0x1", "1_0", "9" * 5000),
    *("²", "½", "１", "٣", "%s{0}{names}", "\\", "((((((((", "🙂", "\n\n", ""),
    *("\x00", "\ud800", "\udcff", "\u202e", "\u200b"),
)
"""Answers that name no action; some only look like a number."""

NUMBERS = ("nan", "-0.5", "1.5", "inf", "-inf", "0", "1e308", "1e-320", "1/0", "0/0", "1/3", "50%", "²", "", "9" * 400)
"""Texts in place of shares; few of them sum to 1."""


def check_parser(env: Env, names: Sequence[str], story: str, full_information: bool, thorough: bool) -> None:
    """Raise ``EnvLoadError`` for the first rule about replies that is broken.

    ``thorough``: also try replies that ignore the instructions, up to 1 MB long; they test the parser, not the
    scenario.
    """
    for text in hostile(names) if thorough else ():
        parsed(env, text, len(names), full_information)
    wanted = [corner(i, len(names)) if full_information else i for i in range(len(names))]
    offered = [*(shares(names) if full_information else ()), *choices(names, story)]
    found = ([parsed(env, text, len(names), full_information) for text in texts] for texts in offered)
    require(any(actions == wanted for actions in found), "parse_finds", f"not one of {', '.join(names)} was found")
    for text in long_replies(names) if thorough else ():
        start = time.process_time()
        parsed(env, text, len(names), full_information)
        seconds = time.process_time() - start
        require(seconds <= MOST_SECONDS, "parse_linear", f"{len(text):,} characters took {seconds:.1f} s")


def parsed(env: Env, text: str, n_actions: int, full_information: bool) -> Action | None:
    """The action that ``env`` reads in ``text``; ``EnvLoadError`` if it is not legal."""
    shown = ascii(text[:40]) + ("..." if len(text) > 40 else "")
    with blaming("parse_raises", shown):
        action = env.parse(text)
    legal = action is None or (_on_simplex(action, n_actions) if full_information else _arm(action, n_actions))
    require(legal, "parse_legal", f"{shown} gave {action!r}")
    return action


def _arm(action: object, n_actions: int) -> bool:
    return isinstance(action, int) and not isinstance(action, bool) and 0 <= action < n_actions


def _on_simplex(action: object, n_actions: int) -> bool:
    if not isinstance(action, tuple) or len(action) != n_actions:
        return False
    shares_A = [share for share in action if isinstance(share, float) and 0 <= share <= 1 + SUM_TOLERANCE]
    return len(shares_A) == n_actions and abs(sum(shares_A) - 1) <= SUM_TOLERANCE


def corner(action: int, n_actions: int) -> tuple[float, ...]:
    """The policy that plays one action with certainty."""
    return tuple(float(i == action) for i in range(n_actions))


def choices(names: Sequence[str], story: str) -> Iterator[list[str]]:
    """Formats for choosing one action, those in ``story`` included; each is a list of one reply per action."""
    yield [f"Action: {name}" for name in names]
    yield list(names)
    for line in story.splitlines():
        if "NAME" in line:
            yield [line.replace("NAME", name) for name in names]
    yield [f"Action: {i}" for i in range(len(names))]
    yield [str(i) for i in range(len(names))]


def shares(names: Sequence[str]) -> Iterator[list[str]]:
    """Formats for a policy that plays one action with certainty; each is a list of one reply per action."""
    for between in (" ", ": ", " = "):
        for marker in ("Policy: ", ""):
            yield [
                marker + ", ".join(f"{name}{between}{float(i == j):.1f}" for j, name in enumerate(names))
                for i in range(len(names))
            ]
    ordered = [[float(i == j) for j in range(len(names))] for i in range(len(names))]
    for marker in ("Policy: ", ""):
        yield [marker + json.dumps(policy) for policy in ordered]
        yield [marker + json.dumps(dict(zip(names, policy, strict=True))) for policy in ordered]


def hostile(names: Sequence[str]) -> Iterator[str]:
    """Short replies that break careless parsers; the same on every call."""
    near = (names[0].upper(), f"{names[0]} or {names[-1]}", names[0] + "\u0301", names[0][:-1], str(len(names)))
    values = (*names, *near, *ODD)
    for value in values:
        yield from (value, f"Action: {value}", f"**Action:** {value}.", f"Policy: {value}", f'{{"action": "{value}"}}')
    rounded = [f"{1 / len(names) + 0.003:.3f}", f"{1 / len(names):.2f}"]
    for number in (*NUMBERS, *rounded):
        listed = [f"{name} {number}" for name in names]
        for texts in (listed, [number] * len(names), [number] * (len(names) + 1), [f"{names[0]} {number}"] * 3):
            yield "Policy: " + ", ".join(texts)
        rest = [f"{name} {1 / (len(names) - 1):.6f}" for name in names[1:]]
        yield "Policy: " + ", ".join([f"{names[0]} {number}", *rest])
    for code in range(32):
        yield f"Action:{chr(code)}{names[0]}{chr(code)}"
    rng = np.random.default_rng(0)
    pieces = [*names, "Action", "Policy", "action", *":*`-%/.,01 \n\ud800é"]
    for _ in range(300):
        yield "".join(pieces[int(i)] for i in rng.integers(len(pieces), size=int(rng.integers(1, 25))))


def long_replies(names: Sequence[str]) -> Iterator[str]:
    """Texts of up to 1 MB that repeat one piece, for several pieces."""
    units = ("a", " ", "\n", "1", "(", "Action: ", "Action:\n", "Policy: 0.1, ", f"{names[0]} ", "e\u0301", "\ud800")
    for size in SIZES:
        for unit in units:
            yield (unit * (size // len(unit) + 1))[:size]
        yield "Action: " + "x" * size
        yield "Action" + " " * size
        yield "Policy: " + "0.1 " * (size // 4)
