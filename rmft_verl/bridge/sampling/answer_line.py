"""Structured decoding of the answer line: the engine may only go on with what some answer of the game goes on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rmft_verl.bridge.sampling.dialogue import ChatTemplate


class AnswerLine:
    """The answers of one game as token ids, each with the token that ends a reply.

    ``alone``: the reply is the answer line and nothing else; otherwise reasoning comes before it, as the model likes.
    ``parse``: the environment's own; a reply that it reads is left as it is.
    """

    def __init__(self, template: ChatTemplate, lines: Sequence[str], parse: Callable[[str], Any], alone: bool) -> None:
        self.alone, self.parse = alone, parse
        self._lines = {prefix: [template.reply(prefix + line) for line in lines] for prefix in ("", "\n")}
        self.longest = max(len(ids) for choices in self._lines.values() for ids in choices)
        """Tokens an answer line may take."""

    def choices(self, before: str) -> list[list[int]]:
        """The lines behind the words ``before``, each on a line of its own."""
        return self._lines["" if not before or before.endswith("\n") else "\n"]


def going_on(choices: Sequence[Sequence[int]], said: Sequence[int]) -> list[int]:
    """The tokens with which some choice goes on after ``said``, sorted; one of them is no choice."""
    n = len(said)
    return sorted({ids[n] for ids in choices if len(ids) > n and list(ids[:n]) == list(said)})
