"""How long a dialogue gets, counted with the model's own tokenizer and chat template before anything loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoTokenizer

from rmft_verl.bridge.dialogue import ChatTemplate
from rmft_verl.plan import CountTokens
from rmft_verl.types import Message


def token_counter(model_path: str, chat_template: Mapping[str, Any]) -> CountTokens:
    """Counts the tokens that messages add to a dialogue, through the very code that renders them in a rollout."""
    template = ChatTemplate(AutoTokenizer.from_pretrained(model_path), chat_template)

    def count(messages: Sequence[Message], opening: bool) -> int:
        return len(template.opening(messages)) if opening else len(template.later(messages[0], ended=True))

    return count
