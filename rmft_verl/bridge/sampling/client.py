"""verl's client of the sampler, asking the load balancer once a dialogue instead of once a reply."""

from __future__ import annotations

from typing import Any

from verl.workers.rollout.llm_server import LLMServerClient


class DialogueClient(LLMServerClient):
    """A dialogue stays on the server that holds its prefix anyway; this saves two of three messages between processes
    for every reply. Call ``end`` when a dialogue is over, so that the balancer counts it no longer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server_of: dict[str, tuple[str, Any]] = {}

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        if request_id not in self._server_of:
            self._server_of[request_id] = await super()._acquire_server(request_id, **extra)
        return self._server_of[request_id]

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        """Nothing yet: the dialogue goes on."""

    def end(self, request_id: str) -> None:
        """Release the dialogue's server, if it ever had one."""
        if request_id in self._server_of:
            server_id, _ = self._server_of.pop(request_id)
            super()._release_server(server_id, request_id=request_id)
