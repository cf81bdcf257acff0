"""A dialogue as token ids: rendered once, then only appended to. What was sampled is never tokenized again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.types import Message, Tokens


class Dialogue:
    """The growing ids and mask of one episode, over verl's continuous-token builder.

    ``deltas`` caches the rendering of a context message; equal messages of many episodes are rendered once.
    """

    def __init__(self, builder: Any, deltas: dict[tuple[str, str], list[int]]) -> None:
        self._builder = builder
        self._deltas = deltas
        self._prompt_length = 0
        self.ids: list[int] = []
        self.mask: list[int] = []

    def observe(self, messages: Sequence[Message]) -> None:
        """Append what the environment said, with the prompt for the next reply."""
        if not self.ids:
            self.ids = list(self._builder.build_initial_tokens(_dicts(messages)))
            self.mask = [0] * len(self.ids)
            self._prompt_length = len(self.ids)
            return
        if len(messages) != 1:
            raise ValueError(f"an observation after the first must be one message, got {len(messages)}")
        message = messages[0]
        if message not in self._deltas:
            self._deltas[message] = list(self._builder.tokenize_context_incremental_messages([], _dicts(messages)))
        delta = self._deltas[message]
        merged = self._builder._merge_context_token_ids(
            self.ids, delta, previous_messages=[], appended_messages=_dicts(messages)
        )
        self.mask, _ = self._builder.align_response_metadata(merged, self.mask)
        self.ids = list(merged.token_ids)

    def reply(self, token_ids: Sequence[int]) -> None:
        """Append what the model sampled, unchanged."""
        self.ids += token_ids
        self.mask += [1] * len(token_ids)

    def tokens(self) -> Tokens:
        """The dialogue up to the last sampled token."""
        end = len(self.mask)
        while end > self._prompt_length and not self.mask[end - 1]:
            end -= 1
        return Tokens(
            np.array(self.ids[:end], dtype=np.int32), np.array(self.mask[:end], dtype=np.int8), self._prompt_length
        )


def _dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [message._asdict() for message in messages]
