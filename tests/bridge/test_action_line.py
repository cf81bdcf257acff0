"""``update.train_on=action``: the mask holds the words that say each reply's action, and its end token."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from templates import FAMILIES, gemma2, qwen3, shipped, template_end

from rmft_verl.bridge.sampling.dialogue import ChatTemplate, Dialogue
from rmft_verl.bridge.training.action_line import Parse, action_only
from rmft_verl.env import load_env
from rmft_verl.types import Message, Tokens


def nothing(text: str) -> None:
    """A parser that reads no action: what is left is the last line with a word."""


def marked(template: ChatTemplate, ids: list[int], parse: Parse = nothing) -> list[int]:
    """Those of a reply's ids that are trained on."""
    tokens = Tokens(np.array([3, 4, *ids]), np.array([0, 0] + [1] * len(ids), dtype=np.int8), 2)
    mask = action_only(tokens, template, parse).mask_N
    assert not mask[:2].any()
    return [token for token, mark in zip(ids, mask[2:], strict=True) if mark]


SHIPPED = [
    ("Try amber.\nAction: amber", [" amber"]),  # one token is the end of a line and the next one's start
    ("Action: amber", ["Action:", " amber"]),
    ("Action: slate\nno.\nAction: amber\n\n", [" amber"]),
    ("So 1.\n\nAction: slate", [" slate"]),
]


@pytest.mark.parametrize(("reply", "expected"), SHIPPED)
def test_the_shipped_tokenizer(reply: str, expected: list[str]) -> None:
    tokenizer, kwargs = shipped()
    template = ChatTemplate(tokenizer, kwargs)
    found = marked(template, template.reply(reply))
    assert [tokenizer.decode([token]) for token in found] == [*expected, "<|im_end|>"]


BYTES = [
    ("Try amber.\nAction: amber", "Action: amber"),
    ("Action: amber", "Action: amber"),
    ("One.\nTwo.\n\nAction: 😀 é\n \n", "Action: 😀 é"),
    ("É 😀\n😀 first", "😀 first"),  # characters of several tokens on both sides of the line break
    ("ends in\u00a0\n\u00a0spaces ", "\u00a0spaces"),
    ("", ""),
    ("\n \n", ""),
    ("So.\n```\nAction: x\n```\n", "Action: x"),  # what closes a block is not the answer
    ("{\n  Action: x **\n}", "  Action: x **"),
    ("So.\n***", "So."),
    ("-\n***", "***"),
]


@pytest.mark.parametrize("family", [qwen3, gemma2])
@pytest.mark.parametrize(("reply", "line"), BYTES)
def test_one_token_a_byte(family: Any, reply: str, line: str) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    found = marked(template, template.reply(reply))
    assert found == [*tokenizer.encode(line, add_special_tokens=False), template_end(tokenizer)]


def test_a_reply_may_end_with_another_end_token_or_with_none() -> None:
    tokenizer, kwargs = gemma2()
    template = ChatTemplate(tokenizer, kwargs)
    ids, line = (tokenizer.encode(text, add_special_tokens=False) for text in ("So.\nAction: x", "Action: x"))
    eos = tokenizer.convert_tokens_to_ids("<eos>")
    assert marked(template, [*ids, eos]) == [*line, eos]
    assert marked(template, ids) == line


def test_special_tokens_inside_a_reply_are_no_words_of_it() -> None:
    """The environment did not read them: they neither make a line nor hide one."""
    tokenizer, kwargs = qwen3()
    template = ChatTemplate(tokenizer, kwargs)
    think, line = tokenizer.convert_tokens_to_ids("<think>"), tokenizer.encode("Action: x", add_special_tokens=False)
    before = tokenizer.encode("So.\n", add_special_tokens=False)
    assert marked(template, [*before, think, *line, template.end]) == [*line, template.end]
    assert marked(template, [*line, *tokenizer.encode("\n"), think, template.end]) == [*line, template.end]


MAB = [
    ("Blue failed.\nAction: red\nI chose it because blue failed twice.", "Action: red"),  # a remark below the answer
    ("Action: red. It pays more than blue.", "Action: red."),  # and behind it
    ("So my Action: red because blue failed", " Action: red"),  # the blank belongs to the word where words are tokens
    ("```\nAction: red\n```\nHope this helps!", "Action: red"),
    ("**Action:**\n**red**\n\nGood luck", "**Action:**\n**red**"),
    ("Action: blue\nThe reason for this action: red fails.", "Action: blue"),
    ("Action: blue?\nAction: red", "Action: red"),
    ("<think>Action: blue</think>\nAction: red\n<think>done\nAction: red\n", "Action: red"),  # a thought is no answer
    ("Well 😀.\nAction: red 😀\nÉ", "Action: red"),
    ("I do not know", "I do not know"),
]
FOL = [
    ("Even.\nPolicy: red 0.50, blue 0.5\nIt is safe.", "Policy: red 0.50, blue 0.5"),
    ("Policy:\n- red: 30%\n- blue: 70%\n\nIt leads.", "Policy:\n- red: 30%\n- blue: 70%"),
    ("Policy: [0.7, 0.3] because red pays", "Policy: [0.7, 0.3]"),
]


def parser(name: str) -> Parse:
    generator = load_env(name).Generator
    scenario = generator(**({"arms": [2]} if name == "mab" else {"actions": [2]})).draw(np.random.default_rng(0))
    env = load_env(name)(dataclasses.replace(scenario, actions=("red", "blue")), 0)
    return env.parse


@pytest.mark.parametrize(("name", "reply", "line"), [("mab", *c) for c in MAB] + [("fol", *c) for c in FOL])
def test_the_words_that_the_environment_reads(name: str, reply: str, line: str) -> None:
    tokenizer, kwargs = gemma2()
    template, parse = ChatTemplate(tokenizer, kwargs), parser(name)
    found = marked(template, template.reply(reply), parse)
    assert found == [*tokenizer.encode(line, add_special_tokens=False), template.end]
    assert parse(tokenizer.decode(found, skip_special_tokens=True)) == parse(reply)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_reply_of_a_dialogue(family: Any) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    dialogue = Dialogue(template)
    for number in range(3):
        dialogue.observe([Message("user", f"Round {number}.\nAction: which?")])
        dialogue.reply(template.reply(f"Number {number}.\n\nAction: x{number}"))
    tokens = dialogue.tokens()
    changed = action_only(tokens, template, nothing)
    assert changed.ids_N is tokens.ids_N and not (changed.mask_N > tokens.mask_N).any()
    spans = changed.reply_spans
    texts = [tokenizer.decode(tokens.ids_N[start:end], skip_special_tokens=True).strip() for start, end in spans]
    form = "" if family is shipped else "Action: "  # a token of the shipped one holds the line break as well
    assert texts == [f"{form}x{number}" for number in range(3)]
    assert [tokens.ids_N[end - 1] for _, end in spans] == [template_end(tokenizer)] * 3
