"""Structured decoding: ids and mask of an answer line that is chosen, whatever the model would rather say."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from templates import FAMILIES, llama3, shipped

from rmft_verl.algo.grpo import token_advantages
from rmft_verl.bridge.sampling.answer_line import AnswerLine, going_on
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.player import ModelPlayer
from rmft_verl.bridge.training.action_line import action_only
from rmft_verl.bridge.training.batches import plain_batch
from rmft_verl.env import load_env
from rmft_verl.env.answers import every_answer
from rmft_verl.env.play import play
from rmft_verl.env.thoughts import spoken
from rmft_verl.types import Message, Observation, Trajectory

NAMES = ("amber", "azure", "slate")
LINES = [f"Action: {name}" for name in NAMES]


def likely(token: int) -> float:
    """What stands for the log-probability of a token."""
    return -1.0 - token / 1024


class Sampler:
    """Says the given thoughts, one a reply, and chooses the last allowed token."""

    def __init__(self, thoughts: list[list[int]], logs: bool = False) -> None:
        self.thoughts, self.logs = list(thoughts), logs
        self.asked: list[tuple[list[int], dict[str, Any]]] = []

    async def generate(self, request_id: str, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
        self.asked.append((list(prompt_ids), sampling_params))
        allowed = sampling_params.get("allowed_token_ids")
        if allowed is None:
            return self._output(self.thoughts.pop(0)[: sampling_params["max_tokens"]])
        assert len(allowed) > 1 and sampling_params["max_tokens"] == 1
        return self._output([allowed[-1]])

    def _output(self, ids: list[int]) -> SimpleNamespace:
        return SimpleNamespace(token_ids=ids, log_probs=[likely(token) for token in ids] if self.logs else None)


def reads(text: str) -> int | None:
    last = spoken(text).rpartition("Action: ")[2]
    return NAMES.index(last) if last in NAMES else None


def one_reply(
    family: Any, thoughts: list[list[int]], alone: bool, room: int = 60, logs: bool = False
) -> tuple[ModelPlayer, Any, Sampler]:
    tokenizer, kwargs = family()
    template, sampler = ChatTemplate(tokenizer, kwargs), Sampler(thoughts, logs)
    line = AnswerLine(template, LINES, reads, alone)
    player = ModelPlayer(sampler, tokenizer, template, {}, 0, (500, room), line)
    observation = Observation((Message("user", "Which?"),), None, 0)  # type: ignore[arg-type]
    return player, asyncio.run(player.act(observation)), sampler


@pytest.mark.parametrize("family", FAMILIES)
def test_alone_the_reply_is_a_line_whose_choices_are_sampled(family: Any) -> None:
    player, reply, sampler = one_reply(family, [], alone=True)
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    assert reply.text in LINES and not reply.cut and not reply.control
    (tokens,) = player.samples()
    ids = tokens.ids_N[tokens.prompt_length :].tolist()
    assert ids == template.reply(reply.text)  # the words as they are tokenized, and the end
    branches = [n for n in range(len(ids)) if len({tuple(c)[n] for c in choices(template) if c[:n] == ids[:n]}) > 1]
    assert np.flatnonzero(tokens.sampled_N).tolist() == [tokens.prompt_length + n for n in branches]
    among = {n: sorted({c[n] for c in choices(template) if c[:n] == ids[:n]}) for n in branches}
    assert tokens.allowed == {tokens.prompt_length + n: tuple(found) for n, found in among.items()}
    assert set(tokens.mask_N[tokens.prompt_length :]) == {1, 2} and not tokens.mask_N[: tokens.prompt_length].any()
    assert [len(prompt) for prompt, _ in sampler.asked] == [tokens.prompt_length + n for n in branches]
    assert len({params["seed"] for _, params in sampler.asked}) == len(branches)
    assert tokens.reply_spans == [(tokens.prompt_length, len(tokens.ids_N))]
    assert np.array_equal(action_only(tokens, template, reads).sampled_N, tokens.sampled_N)
    assert plain_batch([tokens], 1.0)["loss_mask"].values().tolist() == tokens.sampled_N.astype(int).tolist()


def choices(template: ChatTemplate) -> list[list[int]]:
    return [template.reply(line) for line in LINES]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reply_that_names_its_action_is_left_alone(family: Any) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    said = template.reply("Try it.\nAction: azure")
    player, reply, sampler = one_reply(family, [said], alone=False)
    assert reply.text == "Try it.\nAction: azure" and len(sampler.asked) == 1
    (tokens,) = player.samples()
    assert tokens.ids_N[tokens.prompt_length :].tolist() == said
    assert tokens.sampled_N[tokens.prompt_length :].all() and not tokens.allowed


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("thought", "before"), [("I do not know", "I do not know\n"), ("Well.\n", "Well.\n"), ("", "")]
)
def test_a_reply_without_an_action_gets_its_line(family: Any, thought: str, before: str) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    said = template.reply(thought)
    player, reply, _ = one_reply(family, [said], alone=False)
    line = reply.text.removeprefix(before)
    assert line in LINES and reads(reply.text) is not None and not reply.cut
    (tokens,) = player.samples()
    ids, start = tokens.ids_N.tolist(), tokens.prompt_length
    assert ids[start : start + len(said) - 1] == said[:-1]  # what it thought, without its own end
    assert tokens.sampled_N[start : start + len(said) - 1].all()
    assert ids[start + len(said) - 1 :] == template.reply(reply.text.removeprefix(thought))
    assert ids.count(template.end) == (tokens.ids_N[:start] == template.end).sum() + 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("thought", "kept"),
    [
        ("Try it.\nAction: mauve", "Try it."),
        ("Try it. Action: mauve.\n", "Try it."),
        ("Action: mauve", ""),
        ("Action: mauve paid.\nSo again.", "Action: mauve paid.\nSo again."),
        ("Action: mauve, then\nAction: ", "Action: mauve, then"),
    ],
)
def test_an_answer_that_the_game_cannot_read_is_replaced(family: Any, thought: str, kept: str) -> None:
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    said = template.reply(thought)
    player, reply, _ = one_reply(family, [said], alone=False)
    before, _, line = reply.text.rpartition("\n")
    assert before.rstrip() == kept and line in LINES
    (tokens,) = player.samples()
    start = tokens.prompt_length
    assert template.text(tokens.ids_N[start:].tolist()) == reply.text
    own = max(n for n in range(len(said)) if f"{before}\n".startswith(template.text(said[:n])))
    assert tokens.ids_N[start : start + own].tolist() == said[:own]
    assert tokens.sampled_N[start : start + own].all()
    assert set((np.flatnonzero(tokens.sampled_N[start + own :]) + start + own).tolist()) == set(tokens.allowed)


def test_an_answer_within_a_thought_is_part_of_the_thought() -> None:
    tokenizer, kwargs = shipped()
    line = AnswerLine(ChatTemplate(tokenizer, kwargs), LINES, reads, False)
    for thought in ("<think>Say Action: mauve</think>", "<think>Say Action: mauve"):
        assert line.reasoning(thought) == thought
    assert line.reasoning("<think>Hm.</think>\nAction: mauve") == "<think>Hm.</think>\n"


def test_reasoning_is_cut_where_the_line_still_fits_and_where_a_turn_would_end() -> None:
    tokenizer, kwargs = llama3()
    template = ChatTemplate(tokenizer, kwargs)
    longest = AnswerLine(template, LINES, reads, False).longest
    endless = tokenizer.encode("x" * 200, add_special_tokens=False)
    player, reply, _ = one_reply(llama3, [endless], alone=False)
    assert reply.text.startswith("x" * (60 - longest) + "\nAction: ") and not reply.cut
    assert len(player.dialogue.ids) - player.dialogue.tokens().prompt_length <= 60

    mark = tokenizer.convert_tokens_to_ids("<|start_header_id|>")
    inside = [*endless[:5], mark, *endless[:5], template.end]
    player, reply, _ = one_reply(llama3, [inside], alone=False)
    assert reply.text.startswith("xxxxx\nAction: ") and not reply.control
    assert mark not in player.dialogue.ids[player.dialogue.tokens().prompt_length :]


@pytest.mark.parametrize("thought", ["Well.", "Try it.\nAction: azure", "x" * 200])
def test_log_probabilities_stand_at_the_tokens_that_were_sampled(thought: str) -> None:
    """Of a reply that is cut, goes on with a line, or stands as it is; forced tokens and prompts have none."""
    tokenizer, kwargs = llama3()
    said = ChatTemplate(tokenizer, kwargs).reply(thought)
    assert one_reply(llama3, [said], alone=False)[0].samples()[0].logprobs_N is None
    (tokens,) = one_reply(llama3, [said], alone=False, logs=True)[0].samples()
    wanted = np.where(tokens.sampled_N, [likely(token) for token in tokens.ids_N.tolist()], 0.0)
    assert tokens.logprobs_N is not None and tokens.logprobs_N.dtype == np.float32
    assert tokens.logprobs_N.tolist() == wanted.astype(np.float32).tolist() and (wanted < 0).sum() >= 2


@pytest.mark.parametrize("more", ["", "x" * 200])
def test_an_open_thought_is_closed_before_the_line(more: str) -> None:
    """Also where the reply ran into its cap; what a thought says is no action."""
    tokenizer, kwargs = llama3()
    template = ChatTemplate(tokenizer, kwargs)
    said = template.reply(f"<think>Action: azure\n{more}")
    player, reply, _ = one_reply(llama3, [said], alone=False)
    thought, _, line = reply.text.partition("\n</think>\n")
    assert thought.startswith("<think>Action: azure\n") and line in LINES and not reply.cut
    assert len(player.dialogue.ids) - player.dialogue.tokens().prompt_length <= 60


def test_no_room_for_the_line_ends_the_play() -> None:
    tokenizer, kwargs = shipped()
    template = ChatTemplate(tokenizer, kwargs)
    line = AnswerLine(template, LINES, reads, True)
    player = ModelPlayer(Sampler([]), tokenizer, template, {}, 0, (8, 60), line)
    observation = Observation((Message("user", "Which of these is it to be?"),), None, 0)  # type: ignore[arg-type]
    assert asyncio.run(player.act(observation)).exhausted and player.samples() == ()


@pytest.mark.parametrize("name", ["mab", "fol"])
def test_whole_plays_are_valid_and_have_one_reply_a_turn(name: str) -> None:
    """A model that says nothing to the point plays a whole game; credits go to the turns they belong to."""
    tokenizer, kwargs = llama3()
    template, env_class = ChatTemplate(tokenizer, kwargs), load_env(name)
    scenario = env_class.Generator(horizon=[3]).draw(np.random.default_rng(0))
    env = env_class(scenario, 0)
    noise = [[*tokenizer.encode("blah blah", add_special_tokens=False), template.end] for _ in range(3)]
    lines = every_answer(env, env_class(scenario, 0).reset().spec)
    line = AnswerLine(template, lines, env.parse, alone=False)
    player = ModelPlayer(Sampler(noise), tokenizer, template, {}, 0, (4000, 400), line)
    played: Trajectory = asyncio.run(play(env, player, scenario, reward_seed=0, policy_seed=0))
    assert played.valid and len(played.turns) == 3
    (tokens,) = player.samples()
    assert len(tokens.reply_spans) == 3 and (tokens.mask_N == 2).any()
    (row,) = token_advantages(_with(played, tokens), np.array([1.0, 2.0, 3.0]))
    assert [set(row[start:end]) for start, end in tokens.reply_spans] == [{1.0}, {2.0}, {3.0}]


def _with(play: Trajectory, tokens: Any) -> Trajectory:
    import dataclasses

    return dataclasses.replace(play, tokens=(tokens,))


def test_going_on() -> None:
    choices = [[1, 2, 9], [1, 3, 9], [1, 3, 4, 9]]
    assert going_on(choices, []) == [1]
    assert going_on(choices, [1]) == [2, 3]
    assert going_on(choices, [1, 3]) == [4, 9]  # one name begins another: its end is a choice
    assert going_on(choices, [1, 3, 9]) == going_on(choices, [7]) == []
