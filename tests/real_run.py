"""A small real run (verl, Ray, vLLM on a CPU) as a process tree that can be watched and killed whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import psutil

from rmft_verl.store.trajectory_file import read_trajectories

MARK = "RMFT_TEST_TREE"
"""Environment variable that every process of a tree inherits."""

TMP = Path(tempfile.mkdtemp(prefix="e2e_", dir="/tmp"))
"""Where the trees put their temporary files, and where these tests look; short, for the paths of sockets."""

FAKE = Path(__file__).resolve().parent / "unit" / "fake_main.py"
"""A program like ``rmft_verl.main``, on the fake backend of the unit tests."""

SMALL = (
    "recipe=mab_tiny",
    "env.options.horizon=[4]",
    "rollout.scenarios=2",
    "rollout.rollouts=4",
    "selection.keep=2",
    "update.batch=2",
    "update.epochs=4",
)


def environment() -> dict[str, str]:
    """That of a process whose temporary files lie in ``TMP``."""
    return {**os.environ, "TMPDIR": str(TMP)}


SECRET = "rmft-secret-6f1d0c2b"
SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY")
"""Variables that hold secrets, and what they hold in a test."""


class Tree:
    """One process and all that it starts, wherever they move to."""

    def __init__(self, log: Path, arguments: Sequence[str], program: Sequence[str] = ("-m", "rmft_verl.main")) -> None:
        """Start ``python PROGRAM arguments``; its output is added to ``log``."""
        self.log, self._mark = log, uuid4().hex
        command = [sys.executable, *program, *arguments]
        with log.open("a") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=environment() | {MARK: self._mark}
            )

    def pids(self) -> list[int]:
        """The processes that are alive: those with the mark, and children of theirs that may have lost it."""
        parents, marked = {}, set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self._mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    marked.add(int(entry.name))
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):  # it has ended meanwhile
                continue
        found = set()
        while marked - found:
            found |= marked
            marked = {pid for pid, parent in parents.items() if parent in found}
        return sorted(found)

    def named(self, word: str) -> list[int]:
        """Those whose command line has ``word``."""
        return [pid for pid in self.pids() if word in (Path("/proc") / str(pid) / "cmdline").read_text()]

    def kill(self) -> None:
        """Kill -9 all of it, and wait until nothing is left."""
        deadline, left = time.monotonic() + 60, self.pids()
        while left:
            assert time.monotonic() < deadline, f"still there: {left}"
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
            left = self.pids()
        self.process.wait(60)  # its files, so the lock on its directory, outlive what the marks are read from

    def gone(self, seconds: float = 60) -> list[int]:
        """What is still alive after the main process has ended; helpers of Ray get ``seconds`` to follow it."""
        deadline = time.monotonic() + seconds
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


def state(run: Path) -> tuple[int, str]:
    """Iteration and phase that state.json names."""
    try:
        found = json.loads((run / "state.json").read_text())
    except FileNotFoundError:
        return 0, "start"
    return found["iteration"], found["phase"]


def fingerprints(run: Path) -> dict[str, tuple[int, str]]:
    """Time of change and checksum of every file of plays."""
    files = sorted((run / "trajectories").glob("*.parquet"))
    return {file.name: (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files}


def plays(run: Path) -> dict[str, str]:
    """A checksum of what was sampled in every file of plays: seeds, token ids and masks, whatever was kept of it."""
    found = {}
    for file in sorted((run / "trajectories").glob("*.parquet")):
        digest = hashlib.sha256()
        for play in read_trajectories(file):
            digest.update(f"{play.reward_seed} {play.policy_seed} {play.regret}".encode())
            for tokens in play.tokens:
                digest.update(tokens.ids_N.tobytes() + tokens.mask_N.tobytes())
        found[file.name] = digest.hexdigest()
    return found


def litter(shared: bool = True) -> set[str]:
    """What lies where Ray, vLLM, verl and torch put things: in ``TMP``, and ``shared`` memory that no living process
    has mapped. Not the kernels that torch has compiled, which serve the next run, nor what wandb leaves when killed.
    """
    found = {str(path) for path in TMP.iterdir() if not re.search("^torchinductor_|wandb", path.name)}
    if shared:
        found |= {str(path) for path in Path("/dev/shm").iterdir()} - mapped(psutil.pids())
    return found


def mapped(pids: Sequence[int]) -> set[str]:
    """The files of shared memory that these processes have mapped."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # it has ended meanwhile
            lines = (Path("/proc") / str(pid) / "maps").read_text().splitlines()
            found |= {line.split(maxsplit=5)[5] for line in lines if "/dev/shm/" in line}
    return found


def listening(pids: Sequence[int]) -> dict[str, int]:
    """Address and port of every TCP socket on which one of these processes takes connections -> that process."""
    owner = {}
    for pid in pids:
        for link in (Path("/proc") / str(pid) / "fd").glob("*"):
            with suppress(OSError):
                owner[os.readlink(link)] = pid
    found = {}
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in owner:
                found[f"{_address(address)}:{int(port, 16)}"] = owner[f"socket:[{fields[9]}]"]
    return found


def _address(hexadecimal: str) -> str:
    """The kernel's form (words in the machine's byte order) as an address."""
    words = [bytes.fromhex(hexadecimal[i : i + 8])[::-1] for i in range(0, len(hexadecimal), 8)]
    return str(ip_address(b"".join(words)))


def is_local(where: str) -> bool:
    """Whether only this machine can reach an address of ``listening``."""
    address = ip_address(where.rpartition(":")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_open(tree: Tree) -> dict[str, int]:
    """What takes connections on an address of the network. torch's store always does, for rank 0 of its group."""
    found = listening(tree.pids())
    outside = {where: pid for where, pid in found.items() if not is_local(where)}
    stores = [where for where, pid in outside.items() if pid in tree.named("ray::WorkerDict")]
    return outside if len(stores) > 1 else {where: pid for where, pid in outside.items() if where not in stores}


@dataclass(frozen=True)
class Survivor:
    """A run of two iterations, killed within its second update and started again, and what it had at its death."""

    run: Path
    command: list[str]
    files: dict[str, tuple[int, str]]
    sampled: dict[str, str]
    rows: bytes
    said: str
    """By the second start."""
