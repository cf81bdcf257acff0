"""Parses a free reply into an arm. docs/environments.md states the rule."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from env_plugins.answer_line import CHOICE_WORDS, LEADS, last_answer, word_set

_TOKEN = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\w\s]")
_NOT = word_set("not never isn't won't don't can't cannot doesn't")
_OR = word_set("or / & vs versus either")
_TITLES = word_set("reason reasoning rationale explanation justification")
_REASONS = _TITLES | word_set(
    "because since as given due which whose it while whereas although even though despite unlike compared over beats"
)
_SWITCHES = word_set("so then therefore thus hence maybe perhaps otherwise else but next instead rather alternatively")
_RETRACTIONS = word_set("wait actually sorry correction hmm scratch oops")
_SET_ASIDE = (["not"], ["never"], ["neither"], ["rather", "than"], ["better", "than"], ["instead", "of"])
_BESIDE = word_set("the a an option arm number again now this round is and but")
"""Words between a name and what is said about it that decide nothing."""


def parse_action(text: str, names: Sequence[str], option: str) -> int | None:
    """Index of the action that the last answer of ``text`` chooses, or None. Linear in ``text``; never raises.

    ``option`` is the noun for one action, which may stand beside its name. Case does not matter.
    """

    def read(line: str, below: list[str]) -> int | None:
        return _chosen(line or below[0], names, option.casefold())

    return last_answer(text, ("action", "answer"), names, read)


def _chosen(line: str, names: Sequence[str], option: str) -> int | None:
    """Index of the first name on ``line``. None if other words than those of a choice precede it, if it is negated or
    if the rest of the line leaves the choice open.
    """
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", line).casefold())
    index = {name.casefold(): i for i, name in enumerate(names)}
    first = next((n for n, token in enumerate(tokens) if token in index), None)
    if first is None or not all(_may_precede(token, option) for token in tokens[:first]):
        return None
    chosen = tokens[first]
    rest = [token for token in tokens[first + 1 :] if token not in (chosen, option)]
    return index[chosen] if _settled(rest, [n for n, token in enumerate(rest) if token in index]) else None


def _may_precede(token: str, option: str) -> bool:
    """Words of a choice, a number or letter of a list, and any sign that does not negate or question the name."""
    one = len(token) == 1 and token not in "/!?≠¬"
    return one or token in LEADS or token == option or token.isdigit()


def _settled(rest: list[str], others: list[int]) -> bool:
    """Whether the tokens after a name leave it chosen; ``others`` are the places of other names among them."""
    words = [token for token in rest if _word(token) or token in _OR]
    if not _RETRACTIONS.isdisjoint(words) or (words and words[0] in _OR) or words == ["no"] or "?" in rest[:1]:
        return False
    if not others:
        said = rest[1:] if rest[:1] in (["is"], ["was"]) else rest
        return not said or said[0] not in _NOT
    gap = [token for token in rest[: others[0]] if token not in _BESIDE and _word(token) and not token.isdigit()]
    remark = gap in _SET_ASIDE or (bool(gap) and (gap[0] in _REASONS or rest[0] == "."))
    return remark and not any(_rival(rest, n, n == others[0]) for n in others)


def _rival(rest: list[str], place: int, first: bool) -> bool:
    """Whether the other name at ``place`` is offered as a choice: "so red", "or red", "I choose red".

    "not red or green" offers none, so that "or" counts before the first other name and after a comma only. Nor do
    "I will not press red" and "Reason: red".
    """
    n, chosen = place - 1, False
    while n >= 0 and rest[n] not in _SWITCHES and (rest[n] in LEADS or (not _word(rest[n]) and rest[n] not in "/.;!?")):
        chosen = chosen or rest[n] in CHOICE_WORDS or rest[n] == ":"
        n -= 1
    before = rest[n] if n >= 0 else ""
    if before in _NOT or before in _TITLES:
        return False
    apart = first or n < 1 or not _word(rest[n - 1])
    return chosen or before in _SWITCHES or (apart and (before in _OR or before == "no"))


def _word(token: str) -> bool:
    return token[0].isalnum()
