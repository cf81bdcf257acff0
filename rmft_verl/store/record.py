"""Reads and records the finished phases of a run. A phase whose result is on disk is not done again.

A rollout or an evaluation is finished when its parquet file exists, an update when state.json says so. The trainer's
state is on disk after some updates only: a resumed run starts from the last one and repeats the later updates on the
rollouts on disk.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rmft_verl.config import CheckpointConfig
from rmft_verl.store import checkpoints
from rmft_verl.store.checkpoints import begin_directory, step
from rmft_verl.store.run_dir import PHASES, RunDir
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_trajectories, write_kept, write_trajectories
from rmft_verl.types import RunError, StopReason, Trajectory

HELD_OUT = "heldout/normalized_regret"
"""The metric that is lowest in the best state of the trainer."""

MOST_FAILED = 0.5
"""The run stops if a larger share of a phase's trajectories ended in an exception."""


class Stateful(Protocol):
    """What a run can save and resume: a ``Backend``, or a model without one."""

    def save_state(self, directory: Path) -> None: ...

    def load_state(self, directory: Path) -> None: ...


class Record:
    """The finished phases of one run."""

    def __init__(self, run: RunDir, config: CheckpointConfig) -> None:
        self._run = run
        self._config = config
        self._end_checkpoint: Callable[[], None] | None = None
        self._state = run.read_state()
        rows = read_metrics(run.metrics) if run.metrics.exists() else []
        self._rows = {int(row["iteration"] or 0): _numbers(row) for row in rows}

    def restore(self, backend: Stateful) -> int:
        """Load the last state of the trainer that belongs to a finished update; returns its number of updates.

        Raises ``RunDirError`` if it is damaged.
        """
        folder = self._run.checkpoints
        for n in checkpoints.steps(folder):
            if n > self._state.updates:  # its update was not recorded as finished
                checkpoints.remove(step(folder, n))
        known = checkpoints.steps(folder)
        if not known:
            return 0
        last, before = step(folder, known[-1]), f"update {known[-2]}" if known[1:] else "the base"
        checkpoints.verify(last, f"remove it (rm -r {last}) and start again, which goes on from {before}")
        backend.load_state(last)
        self._prune()
        return known[-1]

    def row(self, n: int) -> dict[str, float]:
        """The metrics of iteration ``n`` before the run was interrupted; empty unless it was interrupted in ``n``."""
        return dict(self._state.row) if self._state.iteration == n else {}

    def logged(self, n: int) -> bool:
        """Whether iteration ``n`` has its row in metrics.jsonl."""
        return n in self._rows

    def rows(self, before: int) -> list[dict[str, float]]:
        """The rows of the iterations before ``before``, in order; NaN for missing values."""
        return [self._rows[n] for n in sorted(self._rows) if n < before]

    @property
    def first(self) -> dict[str, float]:
        """The first iteration's row; empty if there is none yet."""
        return self._rows.get(1, {})

    def plays(self, phase: str, n: int, play: Callable[[], list[Trajectory]]) -> list[Trajectory]:
        """The trajectories of a phase of iteration ``n``: read from disk, or else made by ``play`` and written."""
        path = self._run.trajectories(phase, n)
        if path.exists():
            return read_trajectories(path)
        played = play()
        failed = [t for t in played if t.stop_reason is StopReason.ERROR]
        if len(failed) > MOST_FAILED * len(played):
            path = self._run.trajectories(f"failed_{phase}", n)
            write_trajectories(path, played, phase=phase, iteration=n)
            raise RunError(
                f"iteration {n}: {len(failed)} of {len(played)} trajectories ended in an exception, the first in "
                f"{failed[0].error.strip().splitlines()[-1]!r}. {path} has the tracebacks; mend it and start again"
            )
        write_trajectories(path, played, phase=phase, iteration=n)
        return played

    def keep(self, n: int, kept: Sequence[int]) -> None:
        """Write, beside the rollouts of iteration ``n``, the positions of those that are trained on."""
        write_kept(self._run.trajectories("train", n), kept)

    def checkpoint(self, n: int, backend: Stateful) -> None:
        """Write the trainer's state after update ``n``. ``finished`` makes it count, once it is hashed."""
        self._end_checkpoint = begin_directory(step(self._run.checkpoints, n), backend.save_state)

    def finished(self, phase: str, n: int, row: dict[str, float]) -> None:
        """Record the end of a phase. The state never goes back: repeated phases change nothing."""
        if phase == "update" and self._end_checkpoint is not None:
            end, self._end_checkpoint = self._end_checkpoint, None
            end()
        if phase == "log":
            self._rows.setdefault(n, dict(row))
        if (n, PHASES.index(phase)) >= (self._state.iteration, self._state.reached):
            self._state = dataclasses.replace(self._state, iteration=n, phase=phase, row=dict(row))
            self._run.write_state(self._state)
        if phase == "update":
            self._prune()

    def _prune(self) -> None:
        """Remove older states of the trainer, except the best one so far with ``checkpoint.best``."""
        folder = self._run.checkpoints
        regrets = {n: self._rows.get(n, {}).get(HELD_OUT, math.nan) for n in checkpoints.steps(folder)}
        measured = [n for n, regret in regrets.items() if not math.isnan(regret)]
        best = min(measured, key=regrets.__getitem__, default=None) if self._config.best else None
        checkpoints.prune(folder, self._config.keep, best)


def logged_rows(run: RunDir) -> list[dict[str, float | None]]:
    """The rows of a run's metrics.jsonl. Raises ``RunError`` if an iteration that has ended has none."""
    rows = read_metrics(run.metrics) if run.metrics.exists() else []
    state, there = run.read_state(), {row.get("iteration") for row in rows}
    ended = state.iteration + (state.phase in ("log", "save"))
    if missing := [str(n) for n in range(ended) if n not in there]:
        raise RunError(
            f"{run.metrics} lacks {len(missing)} of the {ended} rows of this run, those of iterations "
            f"{', '.join(missing[:9])}: restore it, without them the report is half of one"
        )
    return rows


def _numbers(row: dict[str, float | None]) -> dict[str, float]:
    return {key: math.nan if value is None else value for key, value in row.items()}
