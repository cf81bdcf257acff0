"""Keeps a run's sockets to itself, and notes the shared memory that a killed process would leave behind.

vLLM's processes load ``note_shared_memory`` as a plug-in (``vllm.general_plugins``), verl's workers load it with our
engine. Nothing changes unless the variables below are set.
"""

from __future__ import annotations

import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

NOTES = "RMFT_SHARED_MEMORY"
"""Environment variable: the file for the names of shared-memory blocks, one per line."""

SOCKETS = "RMFT_SOCKETS"
"""Environment variable: the directory for verl's sockets. verl itself puts them into /tmp."""


def note_shared_memory() -> None:
    """Make this process append the name of every block that it creates to the file of ``NOTES``."""
    file = os.environ.get(NOTES)
    if not file or getattr(SharedMemory.__init__, "notes", False):
        return
    make = SharedMemory.__init__

    def noting(self: SharedMemory, name: str | None = None, create: bool = False, size: int = 0, **more: Any) -> None:
        make(self, name, create, size, **more)
        if create:
            with open(file, "a", encoding="utf-8") as notes:
                notes.write(f"{self.name}\n")

    noting.notes = True  # type: ignore[attr-defined]
    SharedMemory.__init__ = noting  # type: ignore[method-assign]


def own_socket(handle: str) -> str:
    """verl's handle ``ipc:///tmp/NAME``, moved to the run's own directory if ``SOCKETS`` is set.

    verl builds the name from the number of the Ray job, which is 1 in every run that starts Ray itself.
    """
    directory = os.environ.get(SOCKETS)
    return f"ipc://{directory}/{Path(handle).name}" if directory else handle
