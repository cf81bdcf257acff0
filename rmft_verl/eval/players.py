"""The players of an evaluation: a classical algorithm, a model behind an endpoint, a model through verl's backend."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rmft_verl.bridge.backend import Backend, OnProgress
from rmft_verl.config import Config, EnvConfig, RolloutConfig, SelectionConfig, UpdateConfig
from rmft_verl.env.play import run_now
from rmft_verl.env.regret import score
from rmft_verl.eval.algorithms import play_request, play_requests
from rmft_verl.eval.directory import EvalDir, file_name
from rmft_verl.eval.options import MODEL
from rmft_verl.eval.targets import Target
from rmft_verl.players.api import PREFIX, ApiPlayer, ApiSettings, Endpoint, Usage, gathered
from rmft_verl.setup.models import dated
from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import reload_config
from rmft_verl.setup.start import start_backend
from rmft_verl.store.checkpoints import verify_final
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.stored_config import refuse_hosted, refuse_numbers
from rmft_verl.types import RolloutRequest, RunError, StopReason, Trajectory


@dataclass(frozen=True)
class Recorder:
    """Records what one contestant plays on one target."""

    directory: EvalDir
    target: str
    player: str
    on_progress: OnProgress

    def add(self, played: Trajectory, usage: Usage) -> None:
        """Store a finished trajectory and ``usage``, what the endpoint counted since the last one."""
        self.directory.add(self.target, self.player, played)
        self.count(usage)
        self.on_progress(1, usage.reply_tokens)

    def count(self, usage: Usage) -> None:
        if usage.requests:
            self.directory.add_usage(self.player, dataclasses.asdict(usage))


class Contestant(Protocol):
    """A player that an evaluation can run."""

    name: str
    identity: dict[str, Any]
    """Settings that determine its play, as JSON; an evaluation resumes only if they are equal."""

    def play(self, target: Target, requests: Sequence[RolloutRequest], recorder: Recorder) -> list[Trajectory]:
        """Play every request; returns the scored trajectories in order."""
        ...

    def close(self) -> None: ...


class Algorithm:
    """A player of ``PLAYERS``, or the oracle."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity: dict[str, Any] = {}

    def play(self, target: Target, requests: Sequence[RolloutRequest], recorder: Recorder) -> list[Trajectory]:
        return play_requests(target.env_class, self.name, requests)

    def close(self) -> None:
        pass


class ApiModel:
    """A model behind an endpoint. Each trajectory is stored as soon as it ends."""

    def __init__(self, settings: ApiSettings) -> None:
        settings.check()
        self.name = f"{PREFIX}{settings.model}"
        self.settings = settings
        self.identity: dict[str, Any] = {
            "base_url": settings.shown_url,
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
        }

    def play(self, target: Target, requests: Sequence[RolloutRequest], recorder: Recorder) -> list[Trajectory]:
        """``RunError`` if the endpoint refuses the key or the model; other failures stay in their trajectories."""
        return run_now(self._play(target, requests, recorder))

    async def _play(self, target: Target, requests: Sequence[RolloutRequest], recorder: Recorder) -> list[Trajectory]:
        endpoint, gate = Endpoint(self.settings), asyncio.Semaphore(self.settings.concurrency)

        async def one(request: RolloutRequest) -> Trajectory:
            async with gate:
                player = ApiPlayer(endpoint, self.settings.model)
                played = await play_request(target.env_class, player, request)
            if endpoint.refused and played.stop_reason is StopReason.ERROR:
                raise RunError(f"{self.name}: {endpoint.refused}. Correct --base-url, the model's name or the key")
            recorder.add(played, endpoint.take_usage())
            return played

        try:
            return await gathered(one(request) for request in requests)
        finally:
            recorder.count(endpoint.take_usage())
            await endpoint.close()

    def close(self) -> None:
        pass


class BackendModel:
    """A language model through verl's backend. The backend serves one environment at a time."""

    def __init__(self, config: Config, version: int, targets: Sequence[Target], env_dirs: Sequence[str]) -> None:
        """``version``: number of updates of the model. Raises ``RunError`` if it cannot play one of the targets."""
        self.name = MODEL
        self._version = version
        self._temperature = config.eval.temperature
        self._prepared = {}
        for env_name in dict.fromkeys(target.env_name for target in targets):
            option_sets = [target.options for target in targets if target.env_name == env_name]
            env = EnvConfig(name=env_name, options=option_sets[0])
            here = dataclasses.replace(untaught(config), env=env, env_dirs=[*config.env_dirs, *env_dirs])
            self._prepared[env_name] = prepare(here, option_sets)
        self.identity: dict[str, Any] = {
            "model": dataclasses.asdict(config.model),
            "updates": version,
            "temperature": config.eval.temperature,
            "top_p": config.rollout.top_p,
            "reply_tokens": config.rollout.reply_tokens,
            "history": config.rollout.history,
            "on_invalid": config.rollout.on_invalid,
            "examples": config.rollout.examples,
            "structured": config.rollout.structured,
        }
        self._serving = ""
        self._backend: Backend | None = None

    def play(self, target: Target, requests: Sequence[RolloutRequest], recorder: Recorder) -> list[Trajectory]:
        backend = self._serve(target.env_name, recorder.directory.path)
        warm = [dataclasses.replace(request, temperature=self._temperature) for request in requests]
        return [score(played) for played in backend.rollout(warm, self._version, recorder.on_progress)]

    def _serve(self, env_name: str, directory: Path) -> Backend:
        if self._backend is not None and self._serving == env_name:
            return self._backend
        self.close()
        log = directory / "verl" / file_name(env_name)
        log.mkdir(parents=True, exist_ok=True)
        self._backend, self._serving = start_backend(self._prepared[env_name], log), env_name
        self._backend.sync(self._version)
        return self._backend

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
            self._backend = None


def untaught(config: Config) -> Config:
    """The configuration without what only training asks of a game: a score, credits, a player that is imitated."""
    update = dataclasses.replace(config.update, credit=UpdateConfig.credit)
    rollout = dataclasses.replace(config.rollout, player=RolloutConfig.player)
    return dataclasses.replace(config, selection=SelectionConfig(), update=update, rollout=rollout)


def trained_model(path: Path, overrides: Sequence[str]) -> tuple[Config, int]:
    """A run's configuration with its trained model in place of the base, and that model's number of updates.

    ``overrides``: ``key=value`` over that configuration. Raises ``RunError`` if the run has no final model.
    """
    run = RunDir.open(path)
    refuse_numbers(run.path)
    refuse_hosted(run.path)
    final = run.checkpoints / "final"
    if not (final / "config.json").is_file():
        raise RunError(f"{path} has no final model: it stopped after {run.read_state().completed} iterations")
    verify_final(final)
    config = dated(reload_config(run.config, overrides), run.date)
    model = dataclasses.replace(config.model, path=str(final))
    return dataclasses.replace(config, model=model), run.read_state().completed


def base_model(path: Path, overrides: Sequence[str]) -> tuple[Config, int]:
    """A run's configuration with the model that it started from, and 0 updates."""
    run = RunDir.open(path)
    refuse_numbers(run.path)
    return dated(reload_config(run.config, overrides), run.date), 0
