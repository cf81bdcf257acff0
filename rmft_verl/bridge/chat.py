"""The model's tokenizer and chat template, as the rollout will use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig, AutoTokenizer
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from rmft_verl.bridge.dialogue import Dialogue
from rmft_verl.plan import CountTokens
from rmft_verl.types import Message


def token_counter(model_path: str, chat_template: Mapping[str, Any]) -> CountTokens:
    """Counts the tokens that messages add to a dialogue, through the very code that renders them in a rollout."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model_type = AutoConfig.from_pretrained(model_path).model_type
    builder = create_continuous_token_builder(
        tokenizer, hf_model_type=model_type, chat_template_kwargs=dict(chat_template)
    )
    deltas: dict[tuple[str, str], list[int]] = {}

    def count(messages: Sequence[Message], opening: bool) -> int:
        dialogue = Dialogue(builder, deltas)
        if not opening:
            dialogue.observe([Message("user", "hello")])
            dialogue.reply([tokenizer.eos_token_id])
        before = len(dialogue.ids)
        dialogue.observe(messages)
        return len(dialogue.ids) - before

    return count
