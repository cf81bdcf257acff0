"""A player that was told what to do, for tests and for looking at an environment."""

from __future__ import annotations

from collections.abc import Iterable

from rmft_verl.types import Action, Observation, Reply


class Scripted:
    """Answers with each text or action of ``script`` in turn; when there is none left it has no room for a reply."""

    name = "scripted"

    def __init__(self, script: Iterable[str | Action]) -> None:
        self._script = iter(script)

    async def act(self, observation: Observation) -> Reply:
        for line in self._script:
            return Reply(text=line) if isinstance(line, str) else Reply(action=line)
        return Reply(exhausted=True)
