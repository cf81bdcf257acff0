"""Episodes of a hosted model through the chat endpoint, each on file as soon as it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rmft_verl.bridge.backend import OnProgress
from rmft_verl.bridge.hosted.journal import Tally
from rmft_verl.env import Env
from rmft_verl.env.history import told
from rmft_verl.env.play import play
from rmft_verl.players.api import ApiPlayer, ApiSettings, Endpoint, gathered
from rmft_verl.store.places import RunDirError
from rmft_verl.store.run_dir import write_text
from rmft_verl.store.tracking import warn
from rmft_verl.store.trajectory_file import read_trajectories, write_trajectories
from rmft_verl.types import Message, RolloutRequest, RunError, StopReason, Trajectory, content_hash

COUNTS = "reply_tokens.json"
"""Beside the episodes: the tokens of each one's replies, as the endpoint has counted them."""


class Parts:
    """The finished episodes of one phase, a file each, until the next phase begins."""

    def __init__(self, folder: Path, requests: Sequence[RolloutRequest], version: int) -> None:
        keys = [self._key(request) for request in requests]
        self._folder = folder / f"episodes_{content_hash([version, keys])}"
        for old in folder.glob("episodes_*"):
            if old != self._folder:
                shutil.rmtree(old)
        self._folder.mkdir(exist_ok=True)
        self._counts = _read_counts(self._folder)

    def read(self, request: RolloutRequest) -> Trajectory | None:
        """The episode of ``request`` if it is on file; a damaged one is played again."""
        path = self._path(request)
        if not path.exists():
            return None
        try:
            return read_trajectories(path)[0]
        except RunDirError as error:
            warn(f"{error}; it is played again")
            return None

    def write(self, request: RolloutRequest, played: Trajectory, reply_tokens: int) -> None:
        """Put an episode on file, unless it failed: a resumed run then plays it again."""
        self._counts[self._path(request).stem] = reply_tokens
        write_text(self._folder / COUNTS, json.dumps(self._counts) + "\n")
        if played.stop_reason is not StopReason.ERROR:
            write_trajectories(self._path(request), [played], phase="part", iteration=max(0, played.policy_version))

    def _path(self, request: RolloutRequest) -> Path:
        return self._folder / f"{content_hash(self._key(request))}.parquet"

    @staticmethod
    def _key(request: RolloutRequest) -> list[object]:
        return [request.scenario.id, request.reward_seed, request.policy_seed, request.temperature]


def reply_tokens(folder: Path) -> float:
    """Tokens of all replies of the latest phase under ``folder``; NaN if none was counted."""
    counts = [count for phase in folder.glob("episodes_*") for count in _read_counts(phase).values()]
    return float(sum(counts)) if any(counts) else math.nan


def _read_counts(phase: Path) -> dict[str, int]:
    path = phase / COUNTS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


@dataclasses.dataclass(frozen=True)
class Table:
    """How episodes are played: the game as a model reads it, and what happens around each."""

    env_class: type[Env]
    history: str
    on_invalid: str
    examples: Sequence[Message]
    count: Callable[[Tally], None]
    """Called with what the endpoint has counted, after each episode."""
    check: Callable[[], None]
    """Called before each episode; raises ``RunError`` if no more may be spent."""

    async def play_all(
        self,
        settings: ApiSettings,
        requests: Sequence[RolloutRequest],
        version: int,
        parts: Parts,
        on_progress: OnProgress | None,
    ) -> list[Trajectory]:
        """The trajectories in order. ``RunError`` if the endpoint refuses the key or the model."""
        endpoint, gate, counted = Endpoint(settings), asyncio.Semaphore(settings.concurrency), [Tally()]

        def settle() -> None:
            taken, counted[0] = counted[0], Tally()
            if taken.requests:
                self.count(taken)

        async def one(request: RolloutRequest) -> Trajectory:
            played, replies = parts.read(request), [0]

            def note(texts: list[str], prompt: int, reply: int) -> None:
                counted[0] += Tally.of(texts, prompt, reply)
                replies[0] += reply

            if played is None:
                async with gate:
                    self.check()
                    played = await self._play(ApiPlayer(endpoint, settings.model, note), request, version)
                if endpoint.refused and played.stop_reason is StopReason.ERROR:
                    raise RunError(f"{endpoint.refused}: correct hosted.* or the key and start again, which goes on")
                parts.write(request, played, replies[0])
                settle()
            if on_progress is not None:
                on_progress(1, replies[0])
            return played

        try:
            return await gathered(one(request) for request in requests)
        finally:
            settle()
            await endpoint.close()

    async def _play(self, player: ApiPlayer, request: RolloutRequest, version: int) -> Trajectory:
        scenario = request.scenario
        env = told(self.env_class(scenario, request.reward_seed), scenario, self.history, self.examples)
        seeds = {"reward_seed": request.reward_seed, "policy_seed": request.policy_seed}
        played = await play(env, player, scenario, on_invalid=self.on_invalid, **seeds)
        return dataclasses.replace(played, player="model", policy_version=version)
