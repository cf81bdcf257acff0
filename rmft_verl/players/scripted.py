"""A player that follows a script, for tests and for inspecting an environment."""

from __future__ import annotations

from collections.abc import Iterable

from rmft_verl.types import Action, Observation, Reply


class Scripted:
    """Answers with each text or action of ``script`` in turn; when none is left, the reply is ``exhausted``."""

    name = "scripted"

    def __init__(self, script: Iterable[str | Action]) -> None:
        self._script = iter(script)

    async def act(self, observation: Observation) -> Reply:
        for line in self._script:
            return Reply(text=line) if isinstance(line, str) else Reply(action=line)
        return Reply(exhausted=True)
