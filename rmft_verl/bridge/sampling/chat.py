"""Loads the model's chat template and counts the tokens of a dialogue, before anything else loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig

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


@lru_cache(maxsize=1)
def end_tokens(tokenizer: Any) -> frozenset[int]:
    """The tokens at which vLLM ends a reply by itself: the tokenizer's end and those of ``generation_config.json``."""
    try:
        listed = GenerationConfig.from_pretrained(tokenizer.name_or_path).eos_token_id
    except OSError:  # the model has no such file
        listed = None
    found = listed if isinstance(listed, list) else [listed]
    return frozenset(token for token in (tokenizer.eos_token_id, *found) if token is not None)


DRAWS = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "no_repeat_ngram_size")
"""What a generation_config.json says of how tokens are drawn."""


def sampling_lines(model_path: str, template: ChatTemplate) -> list[str]:
    """What template and ``generation_config.json`` of a model directory add to a dialogue, for the plan.

    verl names temperature, top_p, top_k and repetition_penalty in each request, so of that file only the stop tokens
    reach vLLM: sampler and trainer compute the same distribution.
    """
    file = Path(model_path) / "generation_config.json"
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"{file}: it is not JSON ({error}); copy it again, or remove it") from error
    stops = dict.fromkeys([template.end, *sorted(end_tokens(template.tokenizer))])
    lines = [f"a reply ends at {' or '.join(template.token(stop) for stop in stops)}"]
    if said := template.preamble():
        lines.append(f"the chat template begins every dialogue with: {said}")
    if draws := [f"{key}={told[key]}" for key in DRAWS if told.get(key) is not None]:
        lines.append(
            f"not used of generation_config.json: {', '.join(draws)}; rollout.temperature and rollout.top_p are"
        )
    return lines
