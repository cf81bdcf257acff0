"""verl's sampler client, which here asks the load balancer once per dialogue instead of once per reply."""

from __future__ import annotations

from typing import Any

from verl.workers.rollout.llm_server import LLMServerClient


class DialogueClient(LLMServerClient):
    """Keeps a dialogue on one server, which holds its prefix anyway. This saves two of three messages between processes
    for every reply. Call ``end`` when a dialogue is over, so that the balancer no longer counts it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server_of: dict[str, tuple[str, Any]] = {}

    async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
        if request_id not in self._server_of:
            self._server_of[request_id] = await super()._acquire_server(request_id, **extra)
        return self._server_of[request_id]

    def _release_server(self, server_id: str, request_id: str | None = None) -> None:
        """Do nothing: the dialogue goes on until ``end``."""

    def end(self, request_id: str) -> None:
        """Release the dialogue's server, if it ever had one."""
        if request_id in self._server_of:
            server_id, _ = self._server_of.pop(request_id)
            super()._release_server(server_id, request_id=request_id)
