"""verl's multi-turn rollout as a player: each episode is ``play(env, player)`` inside verl's agent loop."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any
from uuid import uuid4

import ray
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from vllm.sampling_params import RequestOutputKind

from rmft_verl.bridge import progress
from rmft_verl.bridge.dialogue import ChatTemplate, Dialogue
from rmft_verl.env import Env, load_env
from rmft_verl.history import told
from rmft_verl.play import play
from rmft_verl.types import Observation, Reply, Scenario, Tokens, content_hash


class ModelPlayer:
    """The language model behind verl's sampler. The player of one episode."""

    name = "model"

    def __init__(
        self,
        client: Any,
        tokenizer: Any,
        template: ChatTemplate,
        params: dict[str, Any],
        seed: int,
        limits: tuple[int, int],
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._params = params
        self._seed = seed
        self._context, self._reply_tokens = limits
        self.session = uuid4().hex
        self._replies = 0
        self.template = template
        self.dialogue = Dialogue(template)
        self._ended: list[Dialogue] = []

    async def act(self, observation: Observation) -> Reply:
        if observation.fresh and self.dialogue.ids:
            self._ended.append(self.dialogue)
            self.dialogue = Dialogue(self.template)
        self.dialogue.observe(observation.messages)
        room = min(self._reply_tokens, self._context - len(self.dialogue.ids))
        if room < 1:
            return Reply(exhausted=True)
        output = await self._client.generate(
            request_id=self.session,
            prompt_ids=self.dialogue.ids,
            sampling_params=self._params | {"max_tokens": room, "seed": self._turn_seed()},
        )
        ids = list(output.token_ids)
        self.dialogue.reply(ids)
        ended = len(ids) < room or ids[-1] == self.template.end  # else the reply ran into its cap
        return Reply(text=self._tokenizer.decode(ids, skip_special_tokens=True), cut=not ended)

    def samples(self) -> tuple[Tokens, ...]:
        """Every dialogue in which something was sampled."""
        return tuple(dialogue.tokens() for dialogue in (*self._ended, self.dialogue) if any(dialogue.mask))

    def _turn_seed(self) -> int:
        """A seed of its own for every reply, so that the draw does not depend on what else is being sampled."""
        self._replies += 1
        return int(content_hash([self._seed, self._replies])[:8], 16)


@lru_cache(maxsize=1)
def _counter() -> Any:
    return ray.get_actor(progress.NAME)


@lru_cache(maxsize=1)
def _template(tokenizer: Any, kwargs: str) -> ChatTemplate:
    """One for all episodes of a worker, which serves one model: it remembers the messages it has rendered."""
    return ChatTemplate(tokenizer, json.loads(kwargs))


@lru_cache(maxsize=16)
def _env_class(name: str, env_dirs: tuple[str, ...]) -> type[Env]:
    return load_env(name, env_dirs)


class RMFTAgentLoop(AgentLoopBase):
    """Plays one request. Named in the agent-loop file that ``verl_config`` writes, with the arguments below."""

    def __init__(
        self,
        *args: Any,
        env_name: str,
        env_dirs: list[str],
        history: str,
        on_invalid: str,
        reply_tokens: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._history = history
        self._env_class = _env_class(env_name, tuple(env_dirs))
        self._on_invalid = on_invalid
        self._reply_tokens = reply_tokens

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """``row``: ``request`` (JSON of a RolloutRequest) and ``version``; the trajectory rides in ``extra_fields``."""
        request = json.loads(row["request"])
        scenario = Scenario.from_json(request["scenario"])
        template = _template(self.tokenizer, json.dumps(dict(self.apply_chat_template_kwargs)))
        params = sampling_params | {
            "detokenize": False,
            "stop_token_ids": [template.end],  # a family may close a turn with a token that ends no sequence
            "output_kind": RequestOutputKind.FINAL_ONLY,  # no message per token between vLLM's processes
            "temperature": request["temperature"],
        }
        limits = (self.rollout_config.prompt_length + self.rollout_config.response_length, self._reply_tokens)
        player = ModelPlayer(self.server_manager, self.tokenizer, template, params, request["policy_seed"], limits)
        env = told(self._env_class(scenario, request["reward_seed"]), scenario, self._history)
        trajectory = await play(
            env,
            player,
            scenario,
            reward_seed=request["reward_seed"],
            policy_seed=request["policy_seed"],
            on_invalid=self._on_invalid,
        )
        self.server_manager.end(player.session)
        samples = player.samples()
        trajectory = dataclasses.replace(trajectory, tokens=samples, policy_version=int(row["version"]))
        _counter().add.remote(sum(int(tokens.mask_N.sum()) for tokens in samples))
        tokens = player.dialogue.tokens()
        start = tokens.prompt_length
        return AgentLoopOutput(
            # verl only pads and counts this; training reads the trajectory. A prompt that is too long was not played.
            prompt_ids=tokens.ids_N[:start].tolist()[: self.rollout_config.prompt_length],
            response_ids=tokens.ids_N[start:].tolist(),
            response_mask=tokens.mask_N[start:].tolist(),
            num_turns=2 * len(trajectory.turns),
            metrics=AgentLoopMetrics(),
            extra_fields={"trajectory": trajectory},
        )
