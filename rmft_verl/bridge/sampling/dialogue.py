"""A dialogue as token ids. It is rendered once and only appended to; sampled tokens are never tokenized again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from rmft_verl.types import Message, Tokens

REPLY = "rmft-reply-marker"
"""Placeholder for a reply, to find the text that the template puts after one."""

TODAY = "today"
"""Argument of a chat template: the date (2026-01-31) that it prints instead of the real one."""


class ChatTemplate:
    """Renders messages to token ids with the model's own chat template.

    verl's continuous-token builders need a system role and know the boundary between turns per model family. This class
    reads the boundary from the template itself, so any template of alternating user and assistant turns works.
    """

    def __init__(self, tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
        """``kwargs``: arguments of the template; ``TODAY`` among them is the date for ``strftime_now``."""
        self.tokenizer = tokenizer
        self.arguments = dict(kwargs)
        self.dated = False
        """Whether the template prints the date."""
        self._later: dict[str, list[int]] = {}
        specials = {str(token.content): index for index, token in tokenizer.added_tokens_decoder.items()}
        behind = self._behind_reply("x")
        first = min(specials, key=lambda token: (behind.find(token) % (len(behind) + 1), -len(token)))
        if first not in behind:
            raise ValueError("the chat template ends a reply with no special token")
        self._end_text = behind[: behind.index(first) + len(first)]
        self.end, self.end_text = specials[first], first
        """The token that ends a reply, and its text."""
        self.control = frozenset(index for index, token in tokenizer.added_tokens_decoder.items() if token.special)
        """Special tokens, which stand for no words. Within a reply they would begin or end a turn."""

    def opening(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the first messages and of the generation prompt of the first reply."""
        return self._ids(self._render([message._asdict() for message in messages]))

    def later(self, message: Message, ended: bool) -> list[int]:
        """Ids between a reply and the next one: the end of the reply, the message and the next generation prompt.

        ``ended``: the reply has sampled its end token, which is then not added. Equal messages are rendered once.
        """
        if message.content not in self._later:
            self._later[message.content] = self._between(self._behind_reply(message.content))
        return ([] if ended else self._ids(self._end_text)) + self._later[message.content]

    def preamble(self) -> str:
        """What the template says before a first user message by itself, such as a system prompt; mostly nothing."""
        first = self._plain(self._render([{"role": "user", "content": REPLY}]).partition(REPLY)[0])
        later = self._plain(self._behind_reply(REPLY).partition(REPLY)[0])
        same = 0  # the beginning of any user message
        while same < min(len(first), len(later)) and first[-1 - same] == later[-1 - same]:
            same += 1
        return " ".join(first[: len(first) - same].split())

    def _plain(self, text: str) -> str:
        for token in self.control:
            text = text.replace(self.token(token), "\n")
        return text

    def token(self, index: int) -> str:
        """A token by its name."""
        return str(self.tokenizer.convert_ids_to_tokens(index))

    def reply(self, text: str) -> list[int]:
        """Ids of a reply that was not sampled: ``text`` and the end token."""
        return [*self._ids(text), self.end]

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of a part of a reply as an environment reads it, without special tokens."""
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True))

    def words(self, token_ids: Sequence[int]) -> str:
        """The text of any tokens, special ones included."""
        return str(self.tokenizer.decode(token_ids))

    def around(self, behind_reply: bool) -> tuple[str, str]:
        """The texts before and after the first user message, or one behind a reply and its end, if a reply follows."""
        whole = self._behind_reply(REPLY) if behind_reply else self._render([{"role": "user", "content": REPLY}])
        before, _, after = (whole[len(self._end_text) :] if behind_reply else whole).partition(REPLY)
        return before, after

    def unanswered(self) -> str:
        """The text after a last user message that no reply follows."""
        return self._render([{"role": "user", "content": REPLY}], reply=False).partition(REPLY)[2]

    def trims(self) -> bool:
        """Whether spaces around a user message are left out."""
        return f" {REPLY} " not in self._render([{"role": "user", "content": f" {REPLY} "}])

    def source(self) -> str:
        """The template itself, in Jinja."""
        return str(self.arguments.get("chat_template") or self.tokenizer.get_chat_template())

    def replaced(self, source: str, arguments: Mapping[str, Any]) -> ChatTemplate:
        """Another template with its arguments for the same tokenizer."""
        return ChatTemplate(self.tokenizer, {**arguments, "chat_template": source})

    def _between(self, behind: str) -> list[int]:
        """Ids of the text behind a reply without its end. Some end tokens swallow the space behind them (Phi-3), so the
        text is tokenized with the end.
        """
        whole, end = self._ids(behind), self._ids(self._end_text)
        return whole[len(end) :] if whole[: len(end)] == end else self._ids(behind[len(self._end_text) :])

    def _behind_reply(self, content: str) -> str:
        turns = [("user", "x"), ("assistant", REPLY), ("user", content)]
        return self._render([{"role": role, "content": text} for role, text in turns]).split(REPLY, 1)[1]

    def _render(self, messages: list[dict[str, str]], reply: bool = True) -> str:
        given = self.arguments | {"strftime_now": self._date}  # in place of that of transformers, which says today
        rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply, **given)
        return str(rendered)

    def _date(self, form: str) -> str:
        self.dated = True
        given = self.arguments.get(TODAY)
        return (datetime.fromisoformat(str(given)) if given else datetime.now()).strftime(form)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


class Dialogue:
    """The growing ids and mask of one dialogue, and log-probabilities if the sampler gives them."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._prompt_length = 0
        self.ids: list[int] = []
        self.mask: list[int] = []
        self._logprobs: dict[int, float] = {}
        """Of sampled tokens, by their place."""
        self._allowed: dict[int, tuple[int, ...]] = {}
        """By the place of a token that was drawn among some."""

    def observe(self, messages: Sequence[Message]) -> None:
        """Append the environment's messages and the generation prompt of the next reply."""
        if not self.ids:
            new = self._template.opening(messages)
            self._prompt_length = len(new)
        elif len(messages) == 1 and messages[0].role == "user":
            new = self._template.later(messages[0], ended=self.ids[-1] == self._template.end)
        else:
            raise ValueError(f"an observation after the first must be one user message, got {len(messages)} messages")
        self.ids = self.ids + new
        self.mask = self.mask + [0] * len(new)

    def reply(self, token_ids: Sequence[int], logprobs: Sequence[float] = ()) -> None:
        """Append sampled tokens unchanged."""
        self._logprobs |= dict(enumerate(logprobs[: len(token_ids)], start=len(self.ids)))
        self._say(token_ids, 1)

    def choose(self, token: int, options: Sequence[int], logprobs: Sequence[float] = ()) -> None:
        """Append a token that was drawn among ``options``. If there is one option only, it was forced."""
        if len(options) > 1:
            self._allowed[len(self.ids)] = tuple(options)
            self.reply([token], logprobs)
        else:
            self._say([token], 2)

    def _say(self, token_ids: Sequence[int], mark: int) -> None:
        self.ids = [*self.ids, *token_ids]
        self.mask = self.mask + [mark] * len(token_ids)

    def tokens(self) -> Tokens:
        """The dialogue up to the end of the last reply."""
        end = len(self.mask)
        while end > self._prompt_length and not self.mask[end - 1]:
            end -= 1
        ids_N, mask_N = np.array(self.ids[:end], dtype=np.int32), np.array(self.mask[:end], dtype=np.int8)
        logprobs_N = np.array([self._logprobs.get(place, 0.0) for place in range(end)], dtype=np.float32)
        return Tokens(ids_N, mask_N, self._prompt_length, logprobs_N if self._logprobs else None, dict(self._allowed))
