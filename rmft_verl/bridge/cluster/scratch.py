"""The temporary directory of a process that runs verl: all of it goes with the process, however that ends.

Ray's sessions, vLLM's sockets and what else asks for TMPDIR lie in it. A process that is killed cannot remove it; the
next one does, and with it the shared memory that was noted there: vLLM's queues alone are 400 MB.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from rmft_verl.env import VERBOSE
from rmft_verl.store.tracking import warn

PREFIX = "rmft_"
NOTED = "shared_memory"
"""File of the names of the shared memory that the processes have, and of the lock that dies with the first of them."""
SHARED = Path("/dev/shm")
OURS = re.compile(r"/dev/shm/(psm_\w+|sem\.loky-[\w-]+|verl_weights_\w+)")
LOOK = 0.05
"""Seconds between two looks at whether something was made in SHARED."""
MAPPED = 1.0
"""Seconds within which who makes shared memory also maps it."""


class Scratch:
    """One such directory, held by a lock."""

    def __init__(self) -> None:
        if sweep():
            warn(
                "another run uses verl with this /tmp: their weight syncs meet in sockets of one name there. Give each "
                "a /tmp of its own (a container, unshare -m); the canary stops a run that got the other's weights"
            )
        self._before = tempfile.gettempdir(), os.environ.get("TMPDIR")
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))  # short: a socket's path has 107 bytes; for this user alone
        self._lock = os.open(self.path / NOTED, os.O_CREAT | os.O_RDWR | os.O_APPEND)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._up = Event()
        self._watcher: Thread | None = None
        kept = Path(self._before[0]) / f"torchinductor_{getpass.getuser()}"  # compiled kernels serve the next run too
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept))
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)

    def watch(self, processes: Callable[[], Collection[int]]) -> None:
        """From now until ``noted``, write down the shared memory that these processes map, soon after it is made."""
        self._watcher = Thread(target=self._watch, args=[processes], daemon=True)
        self._watcher.start()

    def noted(self) -> None:
        """All is up; what a kill would leave of it is on file when this returns."""
        self._up.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self, processes: Callable[[], Collection[int]]) -> None:
        known: set[str] = set()
        looked = 0.0
        while True:
            up, now = self._up.wait(LOOK), time.time()
            if up or SHARED.stat().st_mtime > looked - MAPPED:
                names = _shared(processes()) - known
                os.write(self._lock, "".join(f"{name}\n" for name in sorted(names)).encode())
                known |= names
            if up:
                return
            looked = now

    def close(self) -> None:
        """Remove it; with RMFT_VERBOSE=1 it stays for its logs until the next process begins."""
        self.noted()
        tempfile.tempdir, before = self._before
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        if os.environ.get(VERBOSE) != "1":
            _remove(self.path)
        os.close(self._lock)


def sweep() -> int:
    """Remove what processes that are dead have left; returns how many of this user are alive."""
    alive = 0
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or one that is just being made
            lock = os.open(path / NOTED, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            except BlockingIOError:
                alive += 1
            finally:
                os.close(lock)
    return alive


def _remove(path: Path) -> None:
    """A directory, and what none uses any more of the shared memory that is noted in it or that verl names its own, and
    of the sockets that verl puts into /tmp whatever TMPDIR says.
    """
    shared = {SHARED / name for name in (path / NOTED).read_text().split()} | set(SHARED.glob("verl_weights_*"))
    used = (
        {name for process in Path("/proc").glob("[0-9]*") for name in OURS.findall(_maps(process))} if shared else set()
    )
    sockets = list(Path("/tmp").glob("rl-colocate-zmq-*.sock"))  # listed before what is bound: a new one is safe
    bound = Path("/proc/net/unix").read_text()
    unused = [socket for socket in sockets if str(socket) not in bound]
    for left in [*unused, *(memory for memory in shared if memory.name not in used)]:
        with suppress(OSError):  # another user's
            left.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _shared(processes: Collection[int]) -> set[str]:
    """Names of the shared memory that these processes map, and of the semaphores that they have made, which their maker
    maps under another name.
    """
    mapped = {name for pid in processes for name in OURS.findall(_maps(Path("/proc") / str(pid)))}
    return mapped | {path.name for pid in processes for path in SHARED.glob(f"sem.loky-{pid}-*")}


def _maps(process: Path) -> str:
    with suppress(OSError):
        return (process / "maps").read_text(errors="replace")
    return ""
