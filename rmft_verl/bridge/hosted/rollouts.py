"""Episodes of a hosted model through the chat endpoint, each on file as soon as it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rmft_verl.bridge.backend import OnProgress
from rmft_verl.bridge.hosted.journal import Tally
from rmft_verl.env import Env
from rmft_verl.env.history import told
from rmft_verl.env.play import play
from rmft_verl.players.api import ApiPlayer, ApiSettings, Endpoint
from rmft_verl.store.places import RunDirError
from rmft_verl.store.tracking import warn
from rmft_verl.store.trajectory_file import read_trajectories, write_trajectories
from rmft_verl.types import Message, RolloutRequest, RunError, StopReason, Trajectory, content_hash


class Parts:
    """The finished episodes of one phase, a file each, until the next phase begins."""

    def __init__(self, folder: Path, requests: Sequence[RolloutRequest], version: int) -> None:
        keys = [self._key(request) for request in requests]
        self._folder = folder / f"episodes_{content_hash([version, keys])}"
        for old in folder.glob("episodes_*"):
            if old != self._folder:
                shutil.rmtree(old)
        self._folder.mkdir(exist_ok=True)

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

    def write(self, request: RolloutRequest, played: Trajectory) -> None:
        """Put an episode on file, unless it failed: a resumed run then plays it again."""
        if played.stop_reason is not StopReason.ERROR:
            write_trajectories(self._path(request), [played], phase="part", iteration=max(0, played.policy_version))

    def _path(self, request: RolloutRequest) -> Path:
        return self._folder / f"{content_hash(self._key(request))}.parquet"

    @staticmethod
    def _key(request: RolloutRequest) -> list[object]:
        return [request.scenario.id, request.reward_seed, request.policy_seed, request.temperature]


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

        def note(texts: list[str], prompt: int, reply: int) -> None:
            counted[0] += Tally.of(texts, prompt, reply)

        def settle() -> Tally:
            taken, counted[0] = counted[0], Tally()
            if taken.requests:
                self.count(taken)
            return taken

        async def one(request: RolloutRequest) -> Trajectory:
            played = parts.read(request)
            if played is None:
                async with gate:
                    self.check()
                    played = await self._play(endpoint, settings.model, request, version)
                if endpoint.refused and played.stop_reason is StopReason.ERROR:
                    raise RunError(f"{endpoint.refused}: correct hosted.* or the key and start again, which goes on")
                parts.write(request, played)
            if on_progress is not None:
                on_progress(1, settle().reply)
            return played

        endpoint.counted = note
        tasks = [asyncio.ensure_future(one(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            settle()
            await endpoint.close()

    async def _play(self, endpoint: Endpoint, model: str, request: RolloutRequest, version: int) -> Trajectory:
        scenario = request.scenario
        env = told(self.env_class(scenario, request.reward_seed), scenario, self.history, self.examples)
        seeds = {"reward_seed": request.reward_seed, "policy_seed": request.policy_seed}
        player = ApiPlayer(endpoint, model)
        played = await play(env, player, scenario, on_invalid=self.on_invalid, **seeds)
        return dataclasses.replace(played, player="model", policy_version=version)
