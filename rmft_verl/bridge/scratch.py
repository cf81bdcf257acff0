"""Where Ray keeps its sessions: a directory of this process that goes with it, and those that killed ones have left."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from rmft_verl.env import VERBOSE

PREFIX = "rmft_ray_"
WEIGHTS = "verl_weights_"
"""Shared memory that verl sends weights through; a process that is killed meanwhile leaves it."""


def ray_directory() -> Path:
    """A new directory, held by a lock that dies with this process; removed when it ends (not if RMFT_VERBOSE=1)."""
    sweep()
    path = Path(tempfile.mkdtemp(prefix=PREFIX))  # short: Ray's sockets lie in it
    lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.environ.get(VERBOSE) != "1":
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def sweep() -> None:
    """Remove what processes that are dead have left: directories of Ray whose lock is free, weights that none maps."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or alive
            lock = os.open(path / "lock", os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
    left = [path for path in Path("/dev/shm").glob(f"{WEIGHTS}*") if path.stat().st_uid == os.getuid()]
    if left:
        mapped = _mapped()
        for path in left:
            if path.name not in mapped:
                path.unlink(missing_ok=True)


def _mapped() -> str:
    """What the processes of this machine map, as /proc tells it."""
    found = []
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            found.append(maps.read_text(errors="replace"))
    return "".join(found)
