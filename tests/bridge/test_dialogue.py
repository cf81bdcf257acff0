"""Token exactness: what the sampler was given and gave is what is trained on, under five chat templates.

The templates below render as the published ones do for user and assistant messages; the tokenizers are built here.
"""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rmft_verl import tiny
from rmft_verl.bridge.batches import sft_batch
from rmft_verl.bridge.dialogue import ChatTemplate, Dialogue
from rmft_verl.types import Message

QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA2 = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}<bos>"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI35 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
)


def byte_tokenizer(template: str, special: list[str], end: str) -> PreTrainedTokenizerFast:
    """One token a byte, plus the family's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)
    wrapped.chat_template = template
    return wrapped


def qwen3() -> tuple[Any, dict[str, Any]]:
    special = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    return byte_tokenizer(QWEN3, special, "<|im_end|>"), {"enable_thinking": False}


def llama3() -> tuple[Any, dict[str, Any]]:
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_tokenizer(LLAMA3, special, "<|eot_id|>"), {}


def gemma2() -> tuple[Any, dict[str, Any]]:
    """No system role, and a reply ends with another token than the tokenizer's end of sequence."""
    special = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
    return byte_tokenizer(GEMMA2, special, "<eos>"), {}


def phi35() -> tuple[Any, dict[str, Any]]:
    """A dialogue rendered whole ends with the end of sequence; a reply does not."""
    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]
    return byte_tokenizer(PHI35, special, "<|endoftext|>"), {}


def shipped() -> tuple[Any, dict[str, Any]]:
    return AutoTokenizer.from_pretrained(tiny.path("mab")), {}


def template_end(tokenizer: Any) -> int:
    ends = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
    return next(tokenizer.convert_tokens_to_ids(end) for end in ends if end in tokenizer.get_vocab())


REPLIES = ["Try amber.\nAction: amber", "odd <|im_end| text\nAction: slate", "Stay.\nAction: amber"]
OBSERVATIONS = ["Pick amber or slate.\nRound 1 of 3.", "amber paid 1.\nRound 2 of 3.", "slate paid 0.\nRound 3 of 3."]


@pytest.mark.parametrize("family", [shipped, qwen3, llama3, gemma2, phi35])
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

    row = sft_batch([tokens])
    assert row["input_ids"].values().tolist() == ids
    assert row["loss_mask"].values().tolist() == mask


@pytest.mark.parametrize("family", [shipped, qwen3, llama3, gemma2, phi35])
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


@pytest.mark.parametrize("family", [shipped, qwen3, llama3, gemma2, phi35])
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
