"""Token exactness: what the sampler was given and gave is what is trained on, under five chat templates."""

from __future__ import annotations

from typing import Any

import pytest
from templates import FAMILIES, qwen3, template_end

from rmft_verl.bridge.sampling.dialogue import ChatTemplate, Dialogue
from rmft_verl.bridge.training.batches import plain_batch
from rmft_verl.types import Message

REPLIES = ["Try amber.\nAction: amber", "odd <|im_end| text\nAction: slate", "Stay.\nAction: amber"]
OBSERVATIONS = ["Pick amber or slate.\nRound 1 of 3.", "amber paid 1.\nRound 2 of 3.", "slate paid 0.\nRound 3 of 3."]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_mask_are_exactly_what_was_given_and_sampled(family: Any) -> None:
    tokenizer, kwargs = family()
    dialogue = Dialogue(ChatTemplate(tokenizer, kwargs))
    given: list[list[int]] = []
    sampled: list[list[int]] = []
    for observation, reply in zip(OBSERVATIONS, REPLIES, strict=True):
        dialogue.observe([Message("user", observation)])
        given.append(list(dialogue.ids))
        sampled.append([*tokenizer.encode(reply, add_special_tokens=False), template_end(tokenizer)])
        dialogue.reply(sampled[-1])
    tokens = dialogue.tokens()

    ids, mask = tokens.ids_N.tolist(), tokens.mask_N.tolist()
    for prompt, reply in zip(given, sampled, strict=True):
        assert ids[: len(prompt)] == prompt  # every request continued the same sequence
        assert ids[len(prompt) : len(prompt) + len(reply)] == reply
        assert mask[len(prompt) : len(prompt) + len(reply)] == [1] * len(reply)
    assert sum(mask) == sum(len(reply) for reply in sampled)
    assert len(ids) == len(given[-1]) + len(sampled[-1])
    assert tokens.prompt_length == len(given[0])
    assert not any(mask[: tokens.prompt_length])

    row = plain_batch([tokens], 1.0)
    assert row["input_ids"].values().tolist() == ids
    assert row["loss_mask"].values().tolist() == mask


@pytest.mark.parametrize("family", FAMILIES)
def test_text_reads_as_the_template_renders_it(family: Any) -> None:
    """For replies without special tokens the growing ids decode to the template's own rendering of the dialogue."""
    tokenizer, kwargs = family()
    dialogue = Dialogue(ChatTemplate(tokenizer, kwargs))
    messages: list[dict[str, str]] = []
    for observation in OBSERVATIONS:
        dialogue.observe([Message("user", observation)])
        messages.append({"role": "user", "content": observation})
        if observation is not OBSERVATIONS[-1]:
            reply = "Try amber.\nAction: amber"
            dialogue.reply([*tokenizer.encode(reply, add_special_tokens=False), template_end(tokenizer)])
            messages.append({"role": "assistant", "content": reply})
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **kwargs)
    thinking = "<think>\n\n</think>\n\n"  # stays in front of every reply that was sampled behind it
    assert tokenizer.decode(dialogue.ids).replace(thinking, "") == rendered.replace(thinking, "")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reply_that_was_cut_is_closed_by_the_template_and_not_trained_on(family: Any) -> None:
    tokenizer, kwargs = family()
    dialogue = Dialogue(ChatTemplate(tokenizer, kwargs))
    dialogue.observe([Message("user", OBSERVATIONS[0])])
    cut = tokenizer.encode("Try amb", add_special_tokens=False)
    dialogue.reply(cut)
    end = len(dialogue.ids)
    dialogue.observe([Message("user", OBSERVATIONS[1])])
    assert dialogue.ids[end] == template_end(tokenizer)
    assert dialogue.mask[end - 1 : end + 1] == [1, 0]


def test_an_unfinished_observation_is_not_part_of_the_tokens() -> None:
    tokenizer, kwargs = qwen3()
    dialogue = Dialogue(ChatTemplate(tokenizer, kwargs))
    dialogue.observe([Message("user", OBSERVATIONS[0])])
    dialogue.reply([5, 6, template_end(tokenizer)])
    end = len(dialogue.ids)
    dialogue.observe([Message("user", OBSERVATIONS[1])])
    assert len(dialogue.tokens().ids_N) == end
