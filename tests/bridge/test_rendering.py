"""An algorithm's play, told in words, becomes the very ids that a model playing so would have sampled."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from templates import FAMILIES, shipped, template_end

from env_plugins.mab import BanditEnv
from rmft_verl.bridge.sampling.answer_line import AnswerLine
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.player import ModelPlayer
from rmft_verl.bridge.sampling.rendering import render
from rmft_verl.env.history import told
from rmft_verl.env.play import play
from rmft_verl.types import Trajectory


class Speaker:
    """A sampler that says the words it was given, as a model would: their tokens and the end token."""

    def __init__(self, tokenizer: Any, replies: list[str]) -> None:
        self._tokenizer, self._replies = tokenizer, replies

    async def generate(self, **request: Any) -> Any:
        ids = self._tokenizer(self._replies.pop(0), add_special_tokens=False).input_ids
        return SimpleNamespace(token_ids=[*ids, template_end(self._tokenizer)], log_probs=None)


def played(family: Any, history: str) -> tuple[Trajectory, Any, ChatTemplate]:
    """Four rounds of a bandit, sampled by a model that thinks aloud; ``tokens`` are the sampled ones."""
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    scenario = BanditEnv.Generator(arms=3, horizon=4).draw(np.random.default_rng(0))
    replies = [f"Round {t}: hm.\nAction: {scenario.actions[t % 3]}" for t in range(4)]
    player = ModelPlayer(Speaker(tokenizer, replies), tokenizer, template, {}, seed=0, limits=(8192, 256))
    env = told(BanditEnv(scenario, 1), scenario, history)
    trajectory = asyncio.run(play(env, player, scenario, reward_seed=1, policy_seed=0))
    assert trajectory.valid
    return dataclasses.replace(trajectory, tokens=player.samples()), tokenizer, template


@pytest.mark.parametrize("history", ["dialogue", "transcript", "summary", "notes"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rendering_gives_the_ids_and_the_mask_of_sampling(family: Any, history: str) -> None:
    sampled, _, template = played(family, history)
    rendered = render(dataclasses.replace(sampled, tokens=()), template, history)
    assert len(rendered.tokens) == len(sampled.tokens) == (1 if history == "dialogue" else 4)
    for ours, theirs in zip(rendered.tokens, sampled.tokens, strict=True):
        assert ours.ids_N.tolist() == theirs.ids_N.tolist()
        assert ours.mask_N.tolist() == theirs.mask_N.tolist()
        assert ours.prompt_length == theirs.prompt_length
    assert dataclasses.replace(rendered, tokens=sampled.tokens) == sampled


def test_a_dialogue_is_what_the_shipped_template_renders_byte_for_byte() -> None:
    sampled, tokenizer, template = played(shipped, "dialogue")
    (tokens,) = render(sampled, template, "dialogue").tokens
    messages = [message._asdict() for message in sampled.messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(tokens.ids_N) == text
    assert tokens.ids_N.tolist() == tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mask_is_exactly_the_replies(family: Any) -> None:
    sampled, tokenizer, template = played(family, "dialogue")
    (tokens,) = render(sampled, template, "dialogue").tokens
    spans = tokens.reply_spans
    assert len(spans) == len(sampled.turns)
    for (start, end), turn in zip(spans, sampled.turns, strict=True):
        words = tokenizer(turn.text, add_special_tokens=False).input_ids
        assert tokens.ids_N[start:end].tolist() == [*words, template_end(tokenizer)]


def test_a_turn_without_words_is_refused() -> None:
    sampled, _, template = played(shipped, "dialogue")
    silent = dataclasses.replace(sampled, turns=(*sampled.turns[:2], dataclasses.replace(sampled.turns[2], text="")))
    with pytest.raises(ValueError, match="turn 2 of a play by 'model' has no words"):
        render(silent, template, "dialogue")


class Chooser:
    """A sampler that only chooses: a token among the allowed ones, by the request's seed."""

    async def generate(self, sampling_params: dict[str, Any], **request: Any) -> Any:
        allowed = sampling_params["allowed_token_ids"]
        return SimpleNamespace(token_ids=[allowed[sampling_params["seed"] % len(allowed)]], log_probs=None)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_structured_reply_is_rendered_as_it_would_have_been_decoded(family: Any) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    scenario = BanditEnv.Generator(arms=3, horizon=4, answer="action_only").draw(np.random.default_rng(0))
    line = AnswerLine.of(BanditEnv, scenario, template)
    player = ModelPlayer(Chooser(), tokenizer, template, {}, seed=0, limits=(8192, 256), line=line)
    trajectory = asyncio.run(play(BanditEnv(scenario, 1), player, scenario, reward_seed=1, policy_seed=0))
    (sampled,) = player.samples()
    (ours,) = render(trajectory, template, "dialogue", line).tokens
    assert ours.ids_N.tolist() == sampled.ids_N.tolist() and ours.mask_N.tolist() == sampled.mask_N.tolist()
    assert ours.allowed == sampled.allowed and ours.allowed
    (free,) = render(trajectory, template, "dialogue").tokens
    assert not free.allowed and (free.mask_N == (sampled.mask_N > 0)).all()


def test_a_reply_that_reasons_first_was_sampled_freely() -> None:
    sampled, _, template = played(shipped, "dialogue")
    line = AnswerLine.of(BanditEnv, sampled.scenario, template)
    assert not line.alone
    (ours,) = render(sampled, template, "dialogue", line).tokens
    assert ours.mask_N.tolist() == sampled.tokens[0].mask_N.tolist() and not ours.allowed
