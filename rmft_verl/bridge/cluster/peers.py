"""Watches the processes of a run on this machine, so that no wait outlives one of them.

Ray reports a dead actor to whoever waits for it. It does not know vLLM's engine, and nobody reports a process that was
stopped. Processes on other machines are Ray's and vLLM's to report (``faults``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from rmft_verl.types import RunError

NAMES = {
    "ray::WorkerDict": "the trainer",
    "ray::DialogueServer": "vLLM's server, which plays the dialogues",
    "VLLM::": "vLLM's engine",
    "ray::Counter": "the counter of progress",
    "raylet": "Ray",
    "gcs_server": "Ray",
}
"""Beginning of a process's title, or its name -> what it is. Ray's other workers come and go."""

STOPPED = 30.0
"""Seconds after which a stopped process counts as lost."""

FULL = 0.9
"""Share of the memory in use from which on a process that has vanished was probably killed for it."""

LESS = (
    "lower hardware.gpu_memory or hardware.max_num_seqs (what the engine keeps) or hardware.tokens_per_gpu (what an "
    "update holds), or set hardware.offload=true on GPUs"
)


@dataclass
class _Peer:
    process: psutil.Process
    what: str
    held: int = 0
    """Bytes resident when last seen."""
    stopped: float | None = None
    """Since when it has been stopped."""


class Peers:
    """All that this process has started through Ray."""

    def __init__(self) -> None:
        self._seen: dict[int, _Peer] = {}
        self._used = 0.0

    def check(self) -> None:
        """Raise ``RunError`` if a process that was there before has ended, or was stopped ``STOPPED`` seconds ago."""
        for process, what in _of_this_run():
            self._seen.setdefault(process.pid, _Peer(process, what))
        for peer in self._seen.values():
            self._look(peer)
        self._used = psutil.virtual_memory().percent / 100

    def _look(self, peer: _Peer) -> None:
        try:
            status = peer.process.status()
            if not peer.process.is_running() or status == psutil.STATUS_ZOMBIE:
                raise psutil.NoSuchProcess(peer.process.pid)
            peer.held = peer.process.memory_info().rss
        except psutil.NoSuchProcess:
            raise self._ended(peer) from None
        if status != psutil.STATUS_STOPPED:
            peer.stopped = None
            return
        peer.stopped = peer.stopped or time.monotonic()
        if time.monotonic() - peer.stopped >= STOPPED:
            raise RunError(
                f"{peer.what} (process {peer.process.pid}) has been stopped for {STOPPED:.0f} s. Start again to go on"
            )

    def _ended(self, peer: _Peer) -> RunError:
        self._used = max(self._used, psutil.virtual_memory().percent / 100)
        line = f"{peer.what} (process {peer.process.pid}) has ended; it held {peer.held / 2**30:.1f} GiB"
        if self._used < FULL:
            return RunError(f"{line}, and memory was {self._used:.0%} full. Start again to go on")
        total = psutil.virtual_memory().total / 2**30
        return RunError(
            f"{line} of this machine's {total:.0f} GiB, which were {self._used:.0%} full: it was probably killed for "
            f"memory. To need less, {LESS}"
        )


def _of_this_run() -> Iterator[tuple[psutil.Process, str]]:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            title = (process.cmdline() or [""])[0]
            for start, what in NAMES.items():
                if title.startswith(start) or process.name() == start:
                    yield process, what
                    break
