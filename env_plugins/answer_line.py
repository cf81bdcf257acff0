"""Finds the answer in a free reply. docs/environments.md states the rule that this file and the games' parsers keep."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import dropwhile
from typing import TypeVar

from rmft_verl.env.thoughts import spoken

T = TypeVar("T")


def word_set(text: str) -> frozenset[str]:
    """The words of ``text``."""
    return frozenset(text.split())


_LINE_END = re.compile(r"[\n\r\v\f\x85\u2028\u2029]")

_MOST_MARKERS = 10
"""Markers that are looked at, from the last one back. It keeps the cost linear if a reply repeats a marker for ever."""

_BEFORE = 200
"""Characters before a marker in which the sentence that leads to it is sought."""

# "(round 3)", "#3", "for round 3", "is" may follow the word, then some markdown or a closing tag, then a separator.
# A hyphen needs a space after it, or "action-packed" would be an answer. ``<action>`` is a marker by itself. Every
# repetition is bounded, and the pattern begins with a set of letters, which Python finds fast in a long text.
_MARKER = (
    r"[{letters}](?<![^\W_].)(?<![^\W_]_.)(?i:{words})"
    r"(?:(?i:\s{{0,4}}(?:\([^()\n]{{0,40}}\)|#?[0-9]{{1,5}}|(?:is|chosen|choice|selected|taken|to\stake)(?!\w)"
    r"|(?:for|in|at|of)\s(?:the\s|this\s)?(?:next\s)?(?:round|turn|step)(?:\s{{0,4}}#?[0-9]{{1,5}})?))?"
    r"[\s*_`\"'}}]{{0,8}}(?:</\w{{1,8}}>[\s*_`\"']{{0,8}})?(?:[:=→–—]|->|-(?=\s))|(?i:{tags})>)"
)
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?:;]")
_ABOUT = word_set(
    "this that these behind about of reason reasons reasoning rationale explanation why last previous prior past "
    "earlier former first second other another alternative worst bad each every any possible available no not"
)
"""Words before a marker that make it a remark about an action instead of an answer: "the reason for this action:"."""

CHOICE_WORDS = word_set(
    "go going choose choosing pick picking select selecting take taking try trying use using play playing press "
    "pressing push selected decide decided "
    "pull pulling open send give assign put run book brew turn touch drive plant sail serve fetch show "
    "explore exploit test stick stay continue keep switch return final chosen best choice action answer selection "
    "decision"
)
"""Words that say that what follows is chosen."""
LEADS = CHOICE_WORDS | word_set(
    "a an the i i'll i'd i'm we we'll let's let us me will would am to now so then again with for on at in my our is "
    "next finally back option arm number round name want like one called named labeled have"
)
"""Words that may stand before a name and before a marker: a choice and what belongs to its sentence."""

_PLACEHOLDERS = word_set(
    "name names share shares action actions arm option choice answer policy your chosen selected of an a the here x y "
    "number probability weight insert etc and"
)
_DECORATION = re.compile(r"[\s*_`\"'#>()\[\]{}~$|]*")
_ALIKE = {0xFF01 + i: 0x21 + i for i in range(94)} | dict.fromkeys(map(ord, "“”„«»"), '"')
_ALIKE |= dict.fromkeys(map(ord, "‘’"), "'") | {ord("、"): ","}
_ALIKE |= {ord(sign): parts for sign, parts in zip("½⅓⅔¼¾", ("1/2", "1/3", "2/3", "1/4", "3/4"), strict=True)}
"""Full-width characters, the Chinese comma, typographic quotes and fractions, as some models write them."""

_FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?([0-9.]{1,30})\s?\}\s?\{\s?([0-9.]{1,30})\s?\}")
_BREAK = re.compile(r"<br\s?/?>", re.IGNORECASE)
_NO_WORDS = re.compile(
    r"\\[A-Za-z]{1,12}(?=\s?\{)|\\(?:left|right|q?quad)(?![A-Za-z])|\\(?=[^\w\s])"  # \text{blue}, 50\%
    r"|</[A-Za-z]\w{0,15}>|<(?:b|i|u|em|strong|code|p|span|div|mark)(?:\s[^<>]{0,60})?/?>"
    r"|<\|[^|<>\s]{1,40}\|>|<(?:eos|end_of_turn)>|\[/?INST\]"
    r"|```(?:(?:json|text|txt|plaintext|yaml|markdown)\b)?",
)


def last_answer(
    text: str,
    words: Sequence[str],
    names: Sequence[str],
    read: Callable[[str, list[str]], T | None],
    most: int = 500,
) -> T | None:
    """What ``read`` makes of the answer of ``text``, or None. Linear in the length of ``text``; never raises.

    ``words``: those that begin an answer when a colon follows. ``read`` gets the rest of that line, "" if it holds no
    word, and the lines below, the first of which is not blank; ``most`` characters in all. Answers are tried from the
    last one back, until one can be read or cannot be passed over: a placeholder can, and so can a marker within a
    sentence that no name follows.
    """
    text = spoken(text)
    if not text.isascii():
        text = text.translate(_ALIKE)
    name = name_pattern(tuple(each.casefold() for each in names))
    for line, below, within in _answers(text, tuple(words), most):
        first = line or (below[0] if below else "")
        named = name.search(first.casefold()) is not None
        if named or not _placeholder(first):
            found = read(line, below)
            if found is not None or named or not within:
                return found
    return None


def _answers(text: str, words: tuple[str, ...], most: int) -> Iterator[tuple[str, list[str], bool]]:
    """For each marker that is no remark, the last first: its line, those below, whether it stands within a sentence."""
    end = len(text)
    for start, stop in reversed(deque((found.span() for found in _marker(words).finditer(text)), _MOST_MARKERS)):
        segment, end = text[stop:end], start
        if len(segment) > most:
            segment = segment[:most] + "…"  # which shows a reader of numbers that the last one may be cut
        before = _SENTENCE_END.split(_LINE_END.split(text[max(0, start - _BEFORE) : start])[-1])[-1]
        leading = [word.casefold() for word in _WORD.findall(plain(before))]
        if _ABOUT.isdisjoint(leading):
            line, *below = _LINE_END.split(plain(segment))
            if _DECORATION.fullmatch(line):
                line, below = "", list(dropwhile(_DECORATION.fullmatch, below))
            yield line, below, not all(word in LEADS or word.isdigit() for word in leading)


def plain(line: str) -> str:
    """``line`` without tags, code fences and the commands of TeX; ``\\frac{1}{2}`` becomes 1/2, ``<br>`` a new line."""
    return _NO_WORDS.sub(" ", _FRACTION.sub(r"\1/\2", _BREAK.sub("\n", line)))


def _placeholder(line: str) -> bool:
    """Whether a line is empty or repeats the form of an answer: NAME, <name>, [your action]."""
    found = _WORD.findall(line)
    return found[:1] == ["NAME"] or all(word.casefold() in _PLACEHOLDERS for word in found)


@lru_cache(maxsize=64)
def _marker(words: tuple[str, ...]) -> re.Pattern[str]:
    letters = "".join(word[0].lower() + word[0].upper() for word in words)
    rest = "|".join(f"(?<={word[0]}){word[1:]}" for word in words)
    return re.compile(_MARKER.format(letters=letters, words=rest, tags="|".join(f"(?<=<{word})" for word in words)))


@lru_cache(maxsize=1024)
def name_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of ``names``, the longer first, where no letter or digit touches it."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest_first))})(?![^\W_])")
