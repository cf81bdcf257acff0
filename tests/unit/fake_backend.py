"""A whole model in three arrays: it plays, learns, forgets nothing it saves, and can be killed at any moment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.bridge.backend import OnProgress
from rmft_verl.env import Env
from rmft_verl.env.play import play_now
from rmft_verl.types import Batch, Observation, Reply, RolloutRequest, Tokens, Trajectory

ARMS = 8
"""Most arms of a game that it can play."""


class KilledError(BaseException):
    """What stands for the end of the process: nothing catches it."""


class Fuse:
    """Counts what a run does, and kills it at one count: after that no file changes any more."""

    WATCHED = ("replace", "rename", "fsync", "unlink", "rmdir", "truncate", "mkdir")

    def __init__(self, burns: int | None = None) -> None:
        self.burns = burns
        self.ticks: list[str] = []

    def tick(self, what: str) -> None:
        self.ticks.append(what)
        if self.burns is not None and len(self.ticks) > self.burns:
            raise KilledError(what)

    @contextmanager
    def lit(self) -> Iterator[None]:
        """Count every change of a file or a directory as well."""
        before = {name: vars(os)[name] for name in self.WATCHED}
        try:
            for name, call in before.items():
                setattr(os, name, self._counted(name, call))
            yield
        finally:
            for name, call in before.items():
                setattr(os, name, call)

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(first: Any, *args: Any, **kwargs: Any) -> Any:
            named = isinstance(first, (str, os.PathLike))
            self.tick(f"{name} {Path(args[0] if name == 'replace' else first).name}" if named else name)
            return None if name == "fsync" else call(first, *args, **kwargs)  # no power is cut here

        return counted


class SoftmaxPlayer:
    """Draws arms with fixed odds."""

    name = "model"

    def __init__(self, logits_A: np.ndarray, seed: int) -> None:
        self._logits_A, self._rng = logits_A, np.random.default_rng(seed)
        self.played: list[int] = []

    async def act(self, observation: Observation) -> Reply:
        odds_A = np.exp(self._logits_A[: observation.spec.n_actions])
        self.played.append(int(self._rng.choice(len(odds_A), p=odds_A / odds_A.sum())))
        return Reply(action=self.played[-1])


class FakeBackend:
    """Logits of arms, an average of their gradients (the optimizer's state) and a generator of noise."""

    def __init__(self, env_class: type[Env], fuse: Fuse | None = None) -> None:
        self._env_class = env_class
        self._fuse = fuse or Fuse()
        self._weights_A, self._average_A = np.zeros(ARMS), np.zeros(ARMS)
        self._rng = np.random.default_rng(5)
        self._before_A = self._weights_A
        self._sampler: tuple[int, np.ndarray] | None = None
        self.rollouts: list[tuple[int, int]] = []
        """Updates of the model and reward seed of the first play of each."""
        self.updates: list[list[int]] = []
        """The policy seeds of the plays of each."""
        self.closed = False

    def rollout(
        self, requests: Sequence[RolloutRequest], version: int, on_progress: OnProgress | None = None
    ) -> list[Trajectory]:
        self._fuse.tick("rollout begins")
        assert self._sampler is not None and self._sampler[0] == version, "the sampler is stale"
        self.rollouts.append((version, requests[0].reward_seed))
        played = [self._play(request, version) for request in requests]
        self._fuse.tick("rollout ends")
        return played

    def _play(self, request: RolloutRequest, version: int) -> Trajectory:
        assert self._sampler is not None
        player = SoftmaxPlayer(self._sampler[1], request.policy_seed)
        seeds = {"reward_seed": request.reward_seed, "policy_seed": request.policy_seed}
        played = play_now(self._env_class, player, request.scenario, **seeds)
        ids = np.array([request.policy_seed % 97, *player.played], dtype=np.int32)
        mask = np.array([0, *[1] * len(player.played)], dtype=np.int8)
        return dataclasses.replace(played, policy_version=version, tokens=(Tokens(ids, mask, 1),))

    def render(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        raise NotImplementedError

    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        self._fuse.tick("update begins")
        plays = batch.trajectories
        order = np.random.default_rng(seed).permutation(len(plays))
        self._before_A, gap_A = self._weights_A, np.zeros(ARMS)
        for half in np.array_split(order, 2):
            played = np.concatenate([plays[i].tokens[0].ids_N[1:] for i in half])
            odds_A = np.exp(self._weights_A) / np.exp(self._weights_A).sum()
            gap_A = np.bincount(played, minlength=ARMS) / len(played) - odds_A
            self._average_A = 0.9 * self._average_A + gap_A
            self._weights_A = self._weights_A + 0.5 * self._average_A + self._rng.normal(0, 1e-3, ARMS)
            self._fuse.tick("in the update")
        self.updates.append([plays[i].policy_seed for i in order])
        return {"update/loss": float(np.abs(gap_A).sum()), "update/samples": float(len(plays))}

    def sync(self, version: int) -> dict[str, float]:
        self._fuse.tick("sync begins")
        self._sampler = (version, self._weights_A)
        self._fuse.tick("sync ends")
        if version == 0:
            return {}
        return {"sync/canary": 0.0, "sync/moved": float(np.abs(self._weights_A - self._before_A).mean())}

    def save(self, directory: Path) -> None:
        directory.mkdir()
        np.save(directory / "weights.npy", self._weights_A)
        self._fuse.tick("in the save")
        (directory / "config.json").write_text("{}")

    def save_state(self, directory: Path) -> None:
        directory.mkdir()
        np.save(directory / "weights.npy", np.stack([self._weights_A, self._average_A, self._before_A]))
        self._fuse.tick("in the checkpoint")
        state = self._rng.bit_generator.state["state"]
        (directory / "rng.txt").write_text(f"{state['state']} {state['inc']}")

    def load_state(self, directory: Path) -> None:
        self._weights_A, self._average_A, self._before_A = np.load(directory / "weights.npy")
        state, inc = map(int, (directory / "rng.txt").read_text().split())
        self._rng.bit_generator.state = self._rng.bit_generator.state | {"state": {"state": state, "inc": inc}}
        self._sampler = None

    def close(self) -> None:
        self.closed = True
