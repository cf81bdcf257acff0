"""The temporary directory of a run that starts Ray. It is removed with the run, however the run ends.

Ray's sessions, the sockets of vLLM and verl, and all else that uses TMPDIR lie in it, so that runs on one machine do
not collide. A killed process cannot remove its directory. The next run does, with the shared memory whose names are
noted there: vLLM's queues alone take 400 MB.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from rmft_verl.bridge.cluster.private import NOTES, SOCKETS
from rmft_verl.env import VERBOSE

PREFIX = "rmft_"
NOTED = "shared_memory"
"""File with the names of shared memory. Its lock ends with the process."""
SHARED = Path("/dev/shm")
SEMAPHORE = re.compile(r"sem\.loky-(\d+)-")
"""joblib's semaphores, whose names hold the id of the process that made them."""


class Scratch:
    """The temporary directory of one run, held by a lock."""

    def __init__(self) -> None:
        sweep()
        self._before = tempfile.gettempdir(), os.environ.get("TMPDIR")
        # The path is short, as a socket's has at most 107 bytes, and open to this user only.
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self.path / NOTED, os.O_CREAT | os.O_RDWR | os.O_APPEND)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        kept = Path(self._before[0]) / f"torchinductor_{getpass.getuser()}"  # the next run reuses the kernels
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept))
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that every process of the run needs."""
        return {"TMPDIR": str(self.path), SOCKETS: str(self.path), NOTES: str(self.path / NOTED)}

    def close(self) -> None:
        """Remove the directory. With RMFT_VERBOSE=1 it stays, with its logs, until the next run begins."""
        tempfile.tempdir, before = self._before
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        if os.environ.get(VERBOSE) != "1":
            _remove(self.path)
        os.close(self._lock)


def sweep() -> None:
    """Remove the directories that dead processes have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or just being made
            lock = os.open(path / NOTED, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            except BlockingIOError:
                pass  # its run is alive
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    """Remove a directory, the shared memory noted in it, and the semaphores of this process and of dead ones."""
    left = [SHARED / name.lstrip("/") for name in (path / NOTED).read_text().split()]
    for semaphore in SHARED.glob("sem.loky-*"):
        made = SEMAPHORE.match(semaphore.name)
        if made and (int(made[1]) == os.getpid() or not Path(f"/proc/{made[1]}").exists()):
            left.append(semaphore)
    for file in left:
        with suppress(OSError):  # another user's
            file.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
