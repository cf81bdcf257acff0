"""Handles signals, a full disk and crashes, and tells the user how to resume the run."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from rmft_verl.store.env_copy import FOLDER
from rmft_verl.types import RunError

STOPPING = (signal.SIGINT, signal.SIGTERM)

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "unexpected pos ", "PytorchStreamWriter failed")
"""Words of errors that are no ``OSError``: Ray's copy of a worker's error, safetensors' own, torch's zip writer."""
ROOM = 1 << 20
"""A disk with fewer free bytes counts as full, whatever exception a library has raised."""


class RunStoppedError(Exception):
    """A signal has stopped the run. The message is one line that says how to resume it."""

    def __init__(self, number: int, run: Path) -> None:
        self.number = number
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}; the finished phases are on disk. Go on with: {resume_command(run)}")


def resume_command(run: Path) -> str:
    """The command that resumes a run."""
    return f"{Path(sys.executable).name} -m rmft_verl.main resume={shlex.quote(str(run))}"


class Signals:
    """Turns SIGINT and SIGTERM into ``KeyboardInterrupt``, which Ray passes on, until the block ends."""

    def __init__(self) -> None:
        self.received: int | None = None
        """The first signal received."""

    def __enter__(self) -> Signals:
        self._before = [signal.signal(number, self._note) for number in STOPPING]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in zip(STOPPING, self._before, strict=True):
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        raise KeyboardInterrupt


@contextmanager
def resumable(run: Path, signals: Signals) -> Iterator[None]:
    """Tell the user how to resume a run that stops in this block.

    Raises ``RunStoppedError`` for a signal and ``RunError`` for a full disk; any other error is passed on.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise RunStoppedError(signals.received or signal.SIGINT, run) from error
    except Exception as error:
        if _disk_is_full(error, run):
            raise RunError(
                f"the disk of {run} is full ({_used(run)}): free some of it, or lower checkpoint.keep. The finished "
                f"phases are on disk; go on with: {resume_command(run)}"
            ) from error
        print(f"rmft_verl: the finished phases are on disk. Go on with: {resume_command(run)}", file=sys.stderr)
        raise


def _disk_is_full(error: BaseException | None, run: Path) -> bool:
    while error is not None:
        if (isinstance(error, OSError) and error.errno in FULL) or any(words in str(error) for words in NO_SPACE):
            return True
        error = error.__cause__ or error.__context__
    return shutil.disk_usage(run).free < ROOM


def _used(run: Path) -> str:
    """Sizes of the four largest parts of a run, the largest first, without the source that it goes on with."""
    inside = [path for folder in (run, run / "checkpoints") for path in folder.iterdir()]
    parts = [path for path in inside if path.name not in ("checkpoints", FOLDER)]
    sizes = sorted(((_size(path), path.relative_to(run).as_posix()) for path in parts), reverse=True)
    return ", ".join(f"{name} {size / 1e6:,.0f} MB" for size, name in sizes[:4])


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
