"""verl's vLLM servers, in whose processes verl's agent loops run: a reply is no message between Ray's processes, which
costs more than a small model's reply itself (docs/benchmarks.md).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any
from uuid import uuid4

import hydra
import ray
from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopManager,
    AgentLoopWorker,
    DictConfigWrap,
    _agent_loop_registry,
)
from verl.workers.rollout.llm_server import LLMServerClient, LLMServerManager
from verl.workers.rollout.replica import TokenOutput
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica

from rmft_verl.bridge.verl_config import AGENT


class Loops(AgentLoopWorker):
    """verl's worker of agent loops, with one loop for all dialogues, since ours keeps nothing between them. verl makes
    one for each, from its file, which takes as long as several replies of a small model.
    """

    @cached_property
    def _loop(self) -> AgentLoopBase:
        loop: AgentLoopBase = hydra.utils.instantiate(
            _agent_loop_registry[AGENT],
            trainer_config=DictConfigWrap(self.config),
            server_manager=self.llm_client,
            tokenizer=self.tokenizer,
            processor=self.processor,
            dataset_cls=self.dataset_cls,
            data_config=DictConfigWrap(self.config.data),
        )
        return loop

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **row: Any) -> Any:
        output = await self._loop.run(sampling_params, **row)
        return await self._agent_loop_postprocess(output, trajectory["validate"], **row)


class DialogueServer(vLLMHttpServer):
    """The server of a replica, which also plays dialogues."""

    def host(self, config: DictConfig) -> None:
        """Make verl's worker of agent loops; ``config``: verl's whole configuration."""
        self._loops = Loops(config, LocalClient(config, self))

    async def generate_sequences(self, batch: DataProto) -> DataProto:
        """Run one agent loop per row; a row of results each."""
        played: DataProto = await self._loops.generate_sequences(batch)
        return played


class LocalClient(LLMServerClient):
    """Asks the server of its own process."""

    def __init__(self, config: DictConfig, server: vLLMHttpServer) -> None:
        super().__init__(config)
        self._server = server

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **further: Any
    ) -> TokenOutput:
        """One reply. vLLM gets a new id for each of a dialogue, and a copy of what the server changes."""
        asked = list(prompt_ids), dict(sampling_params), uuid4().hex
        output: TokenOutput = await self._server.generate(*asked, **further)
        return output


class RemoteClient(LLMServerClient):
    """Asks one server from another process."""

    def __init__(self, config: DictConfig, address: str, handle: Any) -> None:
        super().__init__(config)
        self._server = address, handle

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        return self._server

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        """Do nothing: nobody counts these requests."""


class _Replica(vLLMReplica):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(DialogueServer)


class Servers(LLMServerManager):
    """Starts a server per replica. Dialogues are split over them beforehand, so there is no load balancer."""

    rollout_replica_class = _Replica

    async def _init_global_load_balancer(self) -> None:
        ray.get([handle.host.remote(self.config) for handle in self.server_handles])

    def agents(self) -> AgentLoopManager:
        """verl's manager of agent loops, whose workers are the servers."""
        manager = AgentLoopManager(self.config, llm_client=None)
        manager.agent_loop_workers = self.server_handles
        return manager
