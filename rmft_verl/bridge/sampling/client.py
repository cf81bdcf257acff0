"""verl's servers and the client of them, which here asks the load balancer once per dialogue, not once per reply."""

from __future__ import annotations

from typing import Any

import ray
from ray.cloudpickle import register_pickle_by_value, unregister_pickle_by_value
from verl.utils.ray_utils import auto_await
from verl.workers.rollout import router
from verl.workers.rollout.llm_server import LLMServerClient, LLMServerManager


class Servers(LLMServerManager):
    """verl's manager of inference servers. ``create_empty`` starts the load balancer alone, ``launch`` the servers, so
    that all that needs only the balancer starts meanwhile.

    The balancer's process is kept from importing verl and vLLM, 10 s and 0.5 GB for a table of addresses: it gets its
    class by value and references to the servers' handles.
    """

    async def _init_global_load_balancer(self) -> None:
        register_pickle_by_value(router)
        try:
            await super()._init_global_load_balancer()
        finally:
            unregister_pickle_by_value(router)

    @auto_await
    async def launch(self) -> None:
        """Start a server per replica; returns when all are up."""
        await self._initialize_llm_servers()
        handles = map(ray.put, self.server_handles)
        await self.global_load_balancer.add_servers.remote(dict(zip(self.server_addresses, handles, strict=True)))


class ServerClient(LLMServerClient):
    """Asks one server, whatever the load balancer would say."""

    def __init__(self, config: Any, address: str, handle: Any) -> None:
        super().__init__(config)
        self._server = address, handle

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        return self._server

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        """Do nothing: no balancer counts these requests."""


class DialogueClient(LLMServerClient):
    """Keeps a dialogue on one server, which holds its prefix anyway. This saves two of three messages between processes
    for every reply. Call ``end`` when a dialogue is over, so that the balancer no longer counts it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server_of: dict[str, tuple[str, Any]] = {}

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        if request_id not in self._server_of:
            address, handle = await super()._acquire_server(request_id, **extra)
            self._server_of[request_id] = address, await handle
        return self._server_of[request_id]

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        """Do nothing: the dialogue goes on until ``end``."""

    def end(self, request_id: str) -> None:
        """Release the dialogue's server, if it ever had one."""
        if request_id in self._server_of:
            server_id, _ = self._server_of.pop(request_id)
            super()._release_server(server_id, request_id=request_id)
