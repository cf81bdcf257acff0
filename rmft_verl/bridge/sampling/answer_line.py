"""Structured decoding of the answer line: the sampler may only choose tokens that continue some answer of the game."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.env import Env
from rmft_verl.env.answers import every_answer
from rmft_verl.env.thoughts import CLOSE, thinks
from rmft_verl.types import Scenario

_AFTER_THOUGHT = f"\n{CLOSE}\n"


class AnswerLine:
    """The answers of one game as token ids, each with the token that ends a reply.

    ``alone``: the reply is the answer line and nothing else; otherwise free reasoning comes before it.
    ``parse``: the environment's parser; a reply that it can read is left as it is.
    """

    def __init__(self, template: ChatTemplate, lines: Sequence[str], parse: Callable[[str], Any], alone: bool) -> None:
        self.alone, self.parse = alone, parse
        self._template, self._texts = template, lines
        prefixes = ("", "\n", _AFTER_THOUGHT)
        self._lines = {prefix: [template.reply(prefix + line) for line in lines] for prefix in prefixes}
        plain, new_line, after_thought = (max(map(len, choices)) for choices in self._lines.values())
        self.longest = max(plain, new_line)
        """Tokens of the longest answer line."""
        self.closing = max(0, after_thought - self.longest)
        """Tokens it needs beyond that if a thought must be closed before it."""

    def choices(self, before: str, first: str = "") -> list[list[int]]:
        """The answer lines that may follow the text ``before`` and then ``first``, which is said with them. Each starts
        a new line, outside any thought.
        """
        if first:
            first += "" if first.endswith("\n") else "\n"
            return [self._template.reply(first + text) for text in self._texts]
        if thinks(before):
            return self._lines[_AFTER_THOUGHT]
        return self._lines["" if not before or before.endswith("\n") else "\n"]

    def reasoning(self, before: str) -> str:
        """``before`` up to an answer that the game cannot read: a last line that has what all answers begin with."""
        words = zip(*(text.split()[:-1] for text in self._texts), strict=False)
        start = " ".join(same[0] for same in takewhile(lambda found: len(set(found)) == 1, words))
        place = before.rfind(start) if start else -1
        within = place < 0 or "\n" in before[place:].strip() or thinks(before[:place])
        return before if within else before[:place]

    @classmethod
    def of(cls, env_class: type[Env], scenario: Scenario, template: ChatTemplate) -> AnswerLine:
        """The answers of the game ``scenario``, alone if it asks for no reasoning (``answer: action_only``)."""
        env = env_class(scenario, 0)
        lines = every_answer(env, env.reset().spec)
        return cls(template, lines, env.parse, scenario.telling.get("answer") == "action_only")


def going_on(choices: Sequence[Sequence[int]], said: Sequence[int]) -> list[int]:
    """The tokens with which some choice continues after ``said``, sorted. A single token leaves no choice."""
    n = len(said)
    return sorted({ids[n] for ids in choices if len(ids) > n and list(ids[:n]) == list(said)})
