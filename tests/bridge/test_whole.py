"""A dialogue as it is played, and as the chat template renders it; and a template that renders what is played."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from templates import FAMILIES, byte_tokenizer, dated, gemma2, llama3, phi3, phi35, qwen3, shipped, thinking

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.whole import ALOUD, SHORT, difference, played, played_template, spaces_lost
from rmft_verl.types import Message

ALL = [*FAMILIES, phi3, dated, thinking]
LONG = [*SHORT, Message("assistant", 'odd "{{ x }}" \\ ü\n'), Message("user", "Last one. {% y %}")]


@pytest.mark.parametrize("family", ALL)
def test_a_play_is_what_the_template_renders_or_the_difference_is_said(family: Any) -> None:
    tokenizer, kwargs = family()
    said = difference(ChatTemplate(tokenizer, kwargs), "dialogue")
    assert bool(said) == (family not in (shipped, phi35)) and "\n" not in said
    assert said.startswith("with white space around its replies") == (family in (llama3, gemma2, phi3, dated))
    if family is qwen3:
        assert "only the play has" in said and "<think>\\n\\n</think>" in said and "only the API" not in said
    if family is thinking:
        assert "only the play has" in said and "Red or blue?" in said


def test_an_argument_matters_without_past_turns_too() -> None:
    tokenizer, kwargs = qwen3()
    template = ChatTemplate(tokenizer, kwargs)
    assert "a dialogue with 0 past turns" in difference(template, "transcript")  # an API asks without the empty thought
    made = template.replaced(played_template(template, "transcript"), {})
    assert made.opening(SHORT[:1]) == template.opening(SHORT[:1])
    assert difference(ChatTemplate(*thinking()), "transcript") == ""


def test_an_end_token_that_swallows_what_follows_costs_no_token_a_turn() -> None:
    tokenizer, kwargs = phi3()
    messages = [message._asdict() for message in SHORT]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert played(ChatTemplate(tokenizer, kwargs), SHORT) == tokenizer(whole, add_special_tokens=False).input_ids


@pytest.mark.parametrize("family", ALL)
def test_the_made_template_renders_what_is_played(family: Any) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs | {"today": "2026-01-31"})
    before = tokenizer.chat_template
    made = played_template(template, "dialogue")
    assert tokenizer.chat_template == before
    for dialogue in (LONG[:1], LONG[:3], LONG, ALOUD):
        text = tokenizer.apply_chat_template(
            [m._asdict() for m in dialogue], tokenize=False, add_generation_prompt=True, chat_template=made
        )
        assert tokenizer(text, add_special_tokens=False).input_ids == played(template, dialogue)
    assert bool(spaces_lost(template, template.replaced(made, {}), "dialogue")) == (family is phi3)


def test_past_turns_alone_can_lose_white_space() -> None:
    template = ChatTemplate(*llama3())
    said = difference(template, "dialogue")
    assert "with 2 past turns" in said and "only the play has ' ', '\\n'" in said
    assert difference(template, "transcript") == ""


@pytest.mark.parametrize("family", [qwen3, llama3, phi35, shipped])
def test_a_dialogue_that_ends_or_is_of_another_form_is_rendered_too(family: Any) -> None:
    tokenizer, kwargs = family()
    made = played_template(ChatTemplate(tokenizer, kwargs), "dialogue")
    one = [SHORT[0]._asdict()]
    plain = tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=False, **kwargs)
    assert tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=False, chat_template=made) == plain
    other = [{"role": "system", "content": "Be brief."}, *one]
    own = tokenizer.apply_chat_template(other, tokenize=False, add_generation_prompt=True, **kwargs)
    assert tokenizer.apply_chat_template(other, tokenize=False, add_generation_prompt=True, chat_template=made) == own


def test_a_template_whose_texts_depend_on_the_message_cannot_be_made() -> None:
    counting = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content | length }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    template = ChatTemplate(byte_tokenizer(counting, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"), {})
    with pytest.raises(ValueError, match="with 2 past turns has"):
        played_template(template, "dialogue")


def test_the_date_is_the_given_one_or_today() -> None:
    tokenizer, kwargs = dated()
    given = ChatTemplate(tokenizer, kwargs | {"today": "2024-02-29"})
    assert "29 Feb 2024" in tokenizer.decode(given.opening(SHORT[:1])) and given.dated
    real = ChatTemplate(tokenizer, kwargs)
    assert datetime.now().strftime("%b %Y") in tokenizer.decode(real.opening(SHORT[:1])) and real.dated
    assert not ChatTemplate(*llama3()).dated
    assert json.dumps(given.arguments)  # the arguments travel as text
