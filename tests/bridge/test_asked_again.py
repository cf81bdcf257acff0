"""``rollout.on_invalid=reask`` and full contexts: what a repaired dialogue trains, and how an outgrown one ends."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cpu_engine import configured, training_rows
from templates import FAMILIES, llama3

from rmft_verl.algo.grpo import token_advantages
from rmft_verl.algo.method import Samples
from rmft_verl.bridge.sampling import agent_loop
from rmft_verl.bridge.sampling.agent_loop import RMFTAgentLoop
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.player import ModelPlayer
from rmft_verl.env import load_env
from rmft_verl.env.history import told
from rmft_verl.env.play import play
from rmft_verl.types import Batch, RolloutRequest, StopReason, Trajectory

ENV = load_env("mab")
SCENARIO = ENV.Generator(arms=[3], horizon=[3], contexts="basic").draw(np.random.default_rng(3))
RIGHT, WRONG = f"Action: {SCENARIO.actions[0]}", "I cannot say."


class Sampler:
    """Says the given replies, over and over; as vLLM does it stops at the cap, and refuses what exceeds the context."""

    def __init__(self, replies: Sequence[list[int]], context: int = 4000) -> None:
        self.replies, self.context, self.asked = list(replies), context, 0

    async def generate(self, request_id: str, prompt_ids: list[int], sampling_params: dict[str, Any]) -> Any:
        assert 1 <= sampling_params["max_tokens"] <= self.context - len(prompt_ids)
        self.asked += 1
        ids = self.replies[(self.asked - 1) % len(self.replies)]
        allowed = sampling_params.get("allowed_token_ids")
        return SimpleNamespace(
            token_ids=allowed[:1] if allowed else ids[: sampling_params["max_tokens"]], log_probs=None
        )

    def end(self, session: str) -> None: ...


def played(family: Any, words: Sequence[str], history: str = "dialogue") -> tuple[Trajectory, list[list[int]]]:
    """A play of the words, asked again where they name no action, and the ids of each reply."""
    tokenizer, kwargs = family()
    template = ChatTemplate(tokenizer, kwargs)
    replies = [template.reply(each) for each in words]
    player = ModelPlayer(Sampler(replies), tokenizer, template, {}, 0, (4000, 60))
    env = told(ENV(SCENARIO, 0), SCENARIO, history)
    trajectory = asyncio.run(play(env, player, SCENARIO, reward_seed=0, policy_seed=0, on_invalid="reask"))
    return dataclasses.replace(trajectory, tokens=player.samples()), replies


@pytest.mark.parametrize("history", ["dialogue", "transcript"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_repaired_dialogue_is_trained_on_without_the_failed_reply(family: Any, history: str) -> None:
    trajectory, replies = played(family, [RIGHT, WRONG, RIGHT, RIGHT], history)
    assert trajectory.valid and [turn.parsed for turn in trajectory.turns] == [True, False, True, True]
    samples = Samples.of(Batch([trajectory], [0]))
    assert [t.ids_N.tolist() for t in samples.tokens] == [t.ids_N.tolist() for t in trajectory.tokens]  # all is context
    assert [t.prompt_length for t in samples.tokens] == [t.prompt_length for t in trajectory.tokens]
    trained = [t.ids_N[start:end].tolist() for t in samples.tokens for start, end in t.reply_spans]
    assert trained == [replies[0], replies[2], replies[3]]

    credited = token_advantages(trajectory, np.array([1.0, 2.0, 3.0]))
    found = [
        set(row[start:end]) for row, t in zip(credited, trajectory.tokens, strict=True) for start, end in t.reply_spans
    ]
    assert found == [{1.0}, {0.0}, {2.0}, {3.0}]

    both = [*samples.tokens, *samples.tokens]
    for loss in ("sft", "dpo"):
        rows = training_rows(configured(loss=loss), both)
        assert [row.tolist() for row in rows["sampled_mask"].unbind()] == [t.mask_N.tolist() for t in both]


def test_an_unrepaired_one_and_one_without_failures_keep_their_tokens() -> None:
    failed, _ = played(llama3, [RIGHT, WRONG, WRONG, RIGHT])
    assert not failed.valid and failed.stop_reason is StopReason.COMPLETED
    good, _ = played(llama3, [RIGHT])
    assert Samples.of(Batch([good], [0])).tokens == list(good.tokens)


class Loop(RMFTAgentLoop):
    """The agent loop of one process without verl around it."""

    def __init__(self, family: Any, sampler: Sampler, context: int, **options: Any) -> None:
        self.tokenizer, self.apply_chat_template_kwargs = family()
        self.server_manager = sampler
        self.rollout_config = SimpleNamespace(prompt_length=context // 2, response_length=context - context // 2)
        self._history, self._examples, self._env_class = "dialogue", [], ENV
        self._on_invalid, self._reply_tokens, self._structured = "reask", 60, options.get("structured", False)
        self._seats = asyncio.Semaphore(1)


@pytest.mark.parametrize("structured", [False, True])
def test_an_outgrown_dialogue_ends_as_data(structured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every size of the context: never an error, never more tokens than fit, and verl pads a single one."""
    monkeypatch.setattr(agent_loop, "_meter", lambda: SimpleNamespace(reply=lambda n: None, episode=lambda: None))
    agent_loop._template.cache_clear()
    tokenizer, kwargs = llama3()
    template = ChatTemplate(tokenizer, kwargs)
    replies = [template.reply(text) for text in ("x" * 70, WRONG, RIGHT)]
    stops = set()
    request = RolloutRequest(SCENARIO, 0, 0)
    for context in [*range(2, 40), *range(40, 1800, 13)]:
        loop = Loop(llama3, Sampler(replies, context), context, structured=structured)
        output = asyncio.run(loop.run({}, request=request, version=0))
        trajectory = output.extra_fields["trajectory"]
        assert trajectory.error == "" and trajectory.stop_reason in (StopReason.LENGTH, StopReason.COMPLETED)
        assert trajectory.stop_reason is StopReason.COMPLETED or not trajectory.valid
        assert all(len(tokens.ids_N) <= context for tokens in trajectory.tokens)
        assert (output.prompt_ids, output.response_ids, output.response_mask) == ([0], [0], [1])
        stops.add((trajectory.stop_reason, len(trajectory.turns)))
    assert {stop for stop, _ in stops} == {StopReason.LENGTH, StopReason.COMPLETED} and len(stops) > 3
    agent_loop._template.cache_clear()
