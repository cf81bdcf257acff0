"""The watch over a run's processes, with real ones that are called like Ray's and vLLM's."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import psutil
import pytest

from rmft_verl.bridge.cluster import peers
from rmft_verl.bridge.cluster.peers import Peers
from rmft_verl.bridge.sampling import progress
from rmft_verl.types import RunError

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def begin(title: str) -> subprocess.Popen[bytes]:
        command = [title, "-c", "print(flush=True); import time; time.sleep(1000)"]
        process = subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("title", "what"),
    [
        ("VLLM::EngineCore", "vLLM's engine"),
        ("VLLM::Worker_TP1", "vLLM's engine"),
        ("ray::WorkerDict.update_actor", "the trainer"),
        ("ray::DialogueServer.generate_sequences", "vLLM's server, which plays the dialogues"),
    ],
)
def test_one_that_has_ended_is_named_with_what_it_held(start: Start, title: str, what: str) -> None:
    process, watch = start(title), Peers()
    watch.check()
    watch.check()
    process.kill()
    process.wait()
    with pytest.raises(RunError, match=rf"{what} \(process {process.pid}\) has ended; it held 0\.\d GiB"):
        watch.check()


def test_one_that_nobody_has_waited_for_has_ended_too(start: Start) -> None:
    process, watch = start("VLLM::EngineCore"), Peers()
    watch.check()
    process.kill()
    deadline = time.monotonic() + 30
    with pytest.raises(RunError, match="has ended"):  # a zombie until then
        while time.monotonic() < deadline:
            watch.check()


def test_in_a_full_memory_it_says_what_needs_less(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(percent=96.0, total=24 * 2**30)
    monkeypatch.setattr(peers.psutil, "virtual_memory", lambda: memory)
    process, watch = start("VLLM::EngineCore"), Peers()
    watch.check()
    process.kill()
    process.wait()
    memory.percent = 60.0  # what it held is free by now
    with pytest.raises(RunError, match=r"24 GiB, which were 96% full: it was probably killed for memory.*gpu_memory"):
        watch.check()


def test_workers_of_ray_that_come_and_go_are_no_loss(start: Start) -> None:
    process, watch = start("ray::IDLE"), Peers()
    watch.check()
    process.kill()
    process.wait()
    watch.check()


def test_a_stopped_one_is_lost_after_a_while_unless_it_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(peers.time, "monotonic", lambda: clock.now)
    process, watch = start("ray::WorkerDict"), Peers()
    process.send_signal(signal.SIGSTOP)
    settle(process, psutil.STATUS_STOPPED)
    watch.check()
    clock.now += 29
    watch.check()
    process.send_signal(signal.SIGCONT)
    settle(process, psutil.STATUS_SLEEPING)
    watch.check()
    process.send_signal(signal.SIGSTOP)
    settle(process, psutil.STATUS_STOPPED)
    clock.now += 10
    watch.check()  # stopped anew
    clock.now += 30
    with pytest.raises(RunError, match=r"the trainer \(process \d+\) has been stopped for 30 s"):
        watch.check()


def settle(process: subprocess.Popen[bytes], state: str) -> None:
    while psutil.Process(process.pid).status() != state:
        pass


class Backend:
    def __init__(self) -> None:
        self._peers = Peers()
        self.never = threading.Event()

    @progress.watched("update")
    def update(self) -> None:
        self.never.wait()

    @progress.watched("save")
    def save(self, value: int, more: int) -> int:
        return value + more


def test_a_method_does_not_outlive_a_process(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "CHECK", 0.05)
    process, backend = start("ray::WorkerDict"), Backend()
    assert backend.save(1, more=2) == 3
    threading.Timer(0.5, process.kill).start()
    with pytest.raises(RunError, match=r"the trainer .* has ended"):
        backend.update()
    backend.never.set()
