"""Loads the model's chat template and counts the tokens of a dialogue, before anything else loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoTokenizer

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.config import ConfigError
from rmft_verl.env.tokens import CountTokens
from rmft_verl.types import Message

REMEDY = "name a Jinja template that fits the model in model.chat_template_file"


def load_template(model_path: str, text: str, arguments: Mapping[str, Any]) -> ChatTemplate:
    """The chat template ``text``, or the model's own if ``text`` is empty, with its keyword ``arguments``.

    Raises ``ConfigError`` if there is no tokenizer or no template, or if it cannot render a dialogue of user and
    assistant.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_path)
    except Exception as error:  # whatever the readers of its files raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.path={model_path}: its tokenizer does not load ({reason}); copy tokenizer.json and "
            "tokenizer_config.json of the model there"
        ) from error
    if text:
        tokenizer.chat_template = text
    if tokenizer.chat_template is None:
        raise ConfigError(f"model.path={model_path}: it has no chat template (a base model, it seems); {REMEDY}")
    try:
        return ChatTemplate(tokenizer, arguments)
    except Exception as error:  # whatever Jinja or the template itself raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"the chat template of {model_path} cannot tell a dialogue of user and assistant ({reason}); {REMEDY}"
        ) from error


def token_counter(template: ChatTemplate) -> CountTokens:
    """A function that counts the tokens that messages add to a dialogue, as a rollout renders them."""

    def count(messages: Sequence[Message], opening: bool) -> int:
        return len(template.opening(messages)) if opening else len(template.later(messages[0], ended=True))

    return count
