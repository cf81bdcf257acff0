"""The loop of every run, on words and on numbers. A phase whose result is on disk is not done again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from rmft_verl.bridge.backend import OnProgress
from rmft_verl.config import Config
from rmft_verl.env.seeds import stream_seed
from rmft_verl.store.checkpoints import write_directory
from rmft_verl.store.record import Record
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import Tracker

Row = dict[str, float]
"""The metrics of one iteration: name -> value (docs/metrics.md)."""

Watch = Callable[[str, int], AbstractContextManager[OnProgress]]
"""Shows a phase (its name, its number of episodes) to the user while it lasts."""


class Model(Protocol):
    """What a run trains: a ``Backend``, or a model without one."""

    def save(self, directory: Path) -> None: ...

    def save_state(self, directory: Path) -> None: ...

    def load_state(self, directory: Path) -> None: ...


def unwatched(phase: str, episodes: int) -> AbstractContextManager[OnProgress]:
    """Show nothing."""
    return nullcontext(lambda episodes, tokens: None)


class Loop(ABC):
    """One run. A subclass defines what an iteration learns from and how the model is measured."""

    def __init__(self, config: Config, model: Model, run: RunDir, tracker: Tracker, watch: Watch = unwatched) -> None:
        self._config, self._model, self._run, self._tracker, self._watch = config, model, run, tracker, watch
        self._record = Record(run, config.checkpoint)
        self._row: Row = {}

    @abstractmethod
    def learn(self, n: int) -> None:
        """Do the n-th update, on rollouts of the model with n - 1 updates."""

    def sync(self, n: int) -> None:  # noqa: B027 - a model on numbers plays as it is
        """Give the weights after ``n`` updates to the sampler, if the model has one."""

    @abstractmethod
    def measure(self, n: int) -> Row:
        """Held-out metrics of the model with ``n`` updates."""

    def train(self, report: Callable[[int, Row], None]) -> None:
        """Run every iteration that is not finished. Iteration 0 measures the base."""
        start = self._record.restore(self._model)
        self._row = self._record.row(start)
        self._measure(start, report)
        for n in range(start + 1, self._config.iterations + 1):
            self._row = self._record.row(n)
            self.learn(n)
            if n % self._config.checkpoint.every == 0:
                with self._phase("checkpoint"):
                    self._record.checkpoint(n, self._model)
            self._measure(n, report, updated=True)
        with self._phase("save"):
            write_directory(self._run.checkpoints / "final", self._model.save)
        self._finished("save", self._config.iterations)

    def _measure(self, n: int, report: Callable[[int, Row], None], updated: bool = False) -> None:
        try:
            with self._phase("sync"):
                self.sync(n)
        finally:  # the state was hashed meanwhile, and a sampler that fails is no reason to lose the update
            if updated:
                self._end_update(n)
        self._finished("sync", n)
        if n in (0, self._config.iterations) or n % self._config.eval.every == 0:
            self._row |= self.measure(n)
            self._finished("evaluate", n)
        if not self._record.logged(n):
            self._tracker.log(self._row, n)
            report(n, self._row)
        self._finished("log", n)

    def _end_update(self, n: int) -> None:
        begun = time.monotonic()
        self._finished("update", n)
        if "time/checkpoint" in self._row:
            self._row["time/checkpoint"] += time.monotonic() - begun

    def _finished(self, phase: str, n: int) -> None:
        self._record.finished(phase, n, self._row)

    def _seed(self, purpose: int, *path: int) -> int:
        return stream_seed(purpose, self._config.seed, *path)

    @contextmanager
    def _phase(self, name: str, episodes: int = 0) -> Iterator[OnProgress]:
        start = time.monotonic()
        with self._watch(name, episodes) as on_progress:
            yield on_progress
        self._row[f"time/{name}"] = time.monotonic() - start
