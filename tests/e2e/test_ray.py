"""Ray as a run starts it, without verl: it listens on loopback alone, and nothing of it is left, stopped or killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_run import TMP, Tree, environment, is_local, listening, litter, mapped

from rmft_verl.bridge.cluster import scratch

pytestmark = pytest.mark.e2e

CHILD = """
import signal, os, time
from multiprocessing import resource_tracker, shared_memory
from rmft_verl.bridge.cluster.private import note_shared_memory
note_shared_memory()
resource_tracker.register = lambda *_: None  # the tracker, killed after this process, may remove the block in between
shared = shared_memory.SharedMemory(create=True, size=1000)
print("up", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""

PROGRAM = f"""
import subprocess, sys, time
from pathlib import Path
from rmft_verl.bridge.cluster import runtime
from rmft_verl.config import HardwareConfig
started = runtime.Ray("cpu", runtime.prepare("cpu"), HardwareConfig())
import ray
@ray.remote(num_cpus=1)
class Worker:
    def start(self):
        self.child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=-1)
        return self.child.stdout.readline()
worker = Worker.remote()
assert ray.get(worker.start.remote()) == b"up\\n"
print("up", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.1)
started.stop()
"""


WAITS = """
import sys, time
from rmft_verl.bridge.cluster import runtime
from rmft_verl.config import HardwareConfig
from rmft_verl.types import RunError
started = runtime.Ray("cpu", runtime.prepare("cpu"), HardwareConfig())
import ray
from rmft_verl.bridge.sampling import progress
@ray.remote(num_cpus=1)
class Worker:
    def hang(self):
        time.sleep(1000)
worker = Worker.options(name="worker").remote()
def lost():
    if time.monotonic() > end:
        raise RunError("lost")
end = time.monotonic() + 5
def ask():
    while True:  # as a thread that had another call to make
        try:
            ray.get(worker.hang.remote())
        finally:
            print("asked", flush=True)
try:
    progress.within(ask, "asking", check=lost)
except RunError as error:
    assert len(progress.unfinished()) == 1
    started.stop(progress.unfinished())
    assert not progress.unfinished() and not ray.is_initialized()
    print(error)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_ray_listens_on_loopback_and_leaves_nothing(
    tmp_path: Path, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RMFT_VERBOSE", raising=False)
    before, log, end = litter(), tmp_path / "log", tmp_path / "end"
    tree = Tree(log, [str(end)], ("-c", PROGRAM))
    try:
        while "up" not in log.read_text():
            assert tree.process.poll() is None, log.read_text()
            time.sleep(0.1)
        found = listening(tree.pids())
        assert len(found) > 3 and all(is_local(where) for where in found), found
        shared = {path for path in mapped(tree.pids()) if "psm_" in path}
        assert len(shared) == 1  # of the worker's child, which hangs
        if not killed:
            end.touch()
            assert tree.process.wait() == 0, log.read_text()
            assert not tree.gone()
    finally:
        tree.kill()
    if killed:
        assert shared < litter() - before
        monkeypatch.setattr(tempfile, "tempdir", str(TMP))
        scratch.sweep()
    assert not litter() - before


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(params=["its own", "a cluster's"])
def which(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a process that starts Ray, or joins another one's."""
    if request.param == "its own":
        yield environment()
        return
    with subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=-1, stdout=-1, text=True, env=environment()) as head:
        yield environment() | {"RAY_ADDRESS": head.stdout.readline().strip()}


def test_work_that_nobody_waits_for_ends_before_ray(which: dict[str, str]) -> None:
    """Ray silently ends a process in which a thread calls it after its shutdown: the run's error would be lost."""
    command = [sys.executable, "-c", WAITS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=which)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["asked", "lost"]
