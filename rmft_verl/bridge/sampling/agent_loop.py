"""Plays trajectories inside verl's agent loop: each episode is one call of ``play(env, player)``."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from functools import lru_cache
from typing import Any

import ray
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from vllm.sampling_params import RequestOutputKind

from rmft_verl.bridge.cluster import faults
from rmft_verl.bridge.sampling import progress
from rmft_verl.bridge.sampling.answer_line import AnswerLine
from rmft_verl.bridge.sampling.chat import end_tokens
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.player import ModelPlayer
from rmft_verl.env import Env, load_env
from rmft_verl.env.history import told
from rmft_verl.env.play import play
from rmft_verl.types import Message, RolloutRequest


class Meter:
    """Reports what this process samples to the counter: after each episode and at most once a second in between."""

    def __init__(self) -> None:
        self._counter = ray.get_actor(progress.NAME)
        self._tokens, self._told = 0, time.monotonic()

    def reply(self, tokens: int) -> None:
        self._tokens += tokens
        if time.monotonic() - self._told > 1:
            self._tell(0)

    def episode(self) -> None:
        self._tell(1)

    def _tell(self, episodes: int) -> None:
        self._counter.add.remote(episodes, self._tokens)
        self._tokens, self._told = 0, time.monotonic()


@lru_cache(maxsize=1)
def _meter() -> Meter:
    return Meter()


class WatchedClient:
    """The sampler client of one episode. It reports tokens to the meter and keeps the error if the sampler dies."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.lost: BaseException | None = None

    async def generate(self, **request: Any) -> Any:
        try:
            output = await self._client.generate(**request)
        except Exception as error:
            self.lost = error if faults.death(error) else None
            raise
        _meter().reply(len(output.token_ids))
        return output


@lru_cache(maxsize=1)
def _template(tokenizer: Any, kwargs: str) -> ChatTemplate:
    """One template for all episodes of a worker, which serves one model. It caches rendered messages."""
    return ChatTemplate(tokenizer, json.loads(kwargs))


@lru_cache(maxsize=16)
def _env_class(name: str, env_dirs: tuple[str, ...]) -> type[Env]:
    return load_env(name, env_dirs)


@lru_cache(maxsize=1)
def _seats(number: int) -> asyncio.Semaphore:
    """Limits how many dialogues this process plays at a time. More would evict one another from vLLM's prefix cache,
    and every turn would compute its whole dialogue anew.
    """
    return asyncio.Semaphore(number)


class RMFTAgentLoop(AgentLoopBase):
    """Plays one request. The agent-loop file of ``verl_config`` names this class and the arguments below."""

    def __init__(
        self,
        *args: Any,
        env_name: str,
        env_dirs: list[str],
        history: str,
        examples: list[list[str]],
        on_invalid: str,
        structured: bool,
        reply_tokens: int,
        seats: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._history = history
        self._examples = [Message(*message) for message in examples]
        self._env_class = _env_class(env_name, tuple(env_dirs))
        self._on_invalid = on_invalid
        self._structured = structured
        self._reply_tokens = reply_tokens
        self._seats = _seats(seats)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """``row`` has ``request`` (a RolloutRequest) and ``version``; ``extra_fields`` returns the trajectory."""
        async with self._seats:
            return await self._play(sampling_params, row)

    async def _play(self, sampling_params: dict[str, Any], row: dict[str, Any]) -> AgentLoopOutput:
        request: RolloutRequest = row["request"]
        scenario = request.scenario
        template = _template(self.tokenizer, json.dumps(dict(self.apply_chat_template_kwargs)))
        params = sampling_params | {
            "detokenize": False,
            "stop_token_ids": [template.end],  # in some models this is not the end-of-sequence token
            "output_kind": RequestOutputKind.FINAL_ONLY,  # no message per token between vLLM's processes
            "temperature": request.temperature,
        }
        limits = (self.rollout_config.prompt_length + self.rollout_config.response_length, self._reply_tokens)
        client = WatchedClient(self.server_manager)
        line = AnswerLine.of(self._env_class, scenario, template) if self._structured else None
        ends = end_tokens(self.tokenizer)
        player = ModelPlayer(client, self.tokenizer, template, params, request.policy_seed, limits, line, ends)
        env = told(self._env_class(scenario, request.reward_seed), scenario, self._history, self._examples)
        trajectory = await play(
            env,
            player,
            scenario,
            reward_seed=request.reward_seed,
            policy_seed=request.policy_seed,
            on_invalid=self._on_invalid,
        )
        if client.lost is not None:  # not this episode's fault: the whole phase must stop
            raise client.lost
        samples = player.samples()
        trajectory = dataclasses.replace(trajectory, tokens=samples, policy_version=int(row["version"]))
        _meter().episode()
        return AgentLoopOutput(
            prompt_ids=[0],  # verl needs a token of each to pad and count; training reads the trajectory
            response_ids=[0],
            response_mask=[1],
            num_turns=2 * len(trajectory.turns),
            metrics=AgentLoopMetrics(),
            extra_fields={"trajectory": trajectory},
        )
