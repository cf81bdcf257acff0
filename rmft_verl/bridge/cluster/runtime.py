"""Sets what verl, vLLM and Ray need before they are imported. A user sets no environment variable."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

from rmft_verl.bridge.cluster.scratch import Scratch
from rmft_verl.config import HardwareConfig
from rmft_verl.types import RunError

LOOPBACK = "127.0.0.1"

GRACE = 10.0
"""Seconds that the processes of Ray's workers get to end by themselves before they are killed."""

PINNED = {"verl": ("0.9.1", "0.10")}
"""Distribution -> lowest version, first version that is too new."""


def installed() -> None:
    """Raise ``RunError`` with the install command if verl is missing or not in ``PINNED``, or trl does not fit."""
    for name, (low, high) in PINNED.items():
        if importlib.util.find_spec(name) is None:
            raise RunError(f"{name} is not installed: pip install 'rmft_verl[gpu]', or 'rmft_verl[cpu]' without a GPU")
        version = importlib.metadata.version(name)
        if not _tuple(low) <= _tuple(version) < _tuple(high):
            raise RunError(f"{name} {version} is installed, not >={low},<{high}: pip install '{name}=={low}'")

    _trl_fits()


def _trl_fits() -> None:
    """Refuse a trl without ``trl.experimental.ppo``: verl's workers import it and would die."""
    try:
        files = importlib.metadata.files("trl") or []
    except importlib.metadata.PackageNotFoundError:
        return
    if not any(str(file).startswith("trl/experimental/ppo/") for file in files):
        version = importlib.metadata.version("trl")
        raise RunError(f"trl {version} does not fit verl: pip install 'trl<1.9', or pip uninstall -y trl (not needed)")


def _tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def device(hardware: HardwareConfig) -> str:
    """The device that this run uses, ``cuda`` or ``cpu``: that of the cluster which it joins, or else of this machine.

    Raises ``RunError`` if GPUs are asked for and missing, or if there is no cluster for several nodes.
    """
    joins = "RAY_ADDRESS" in os.environ
    if hardware.nodes > 1 and not joins:
        raise RunError(
            f"hardware.nodes={hardware.nodes}: there is no cluster to join. Start Ray on every node (ray start) and "
            "set RAY_ADDRESS=HOST:PORT of the first one"
        )
    if hardware.device == "cpu":
        return "cpu"
    counts = cluster_gpus() if joins else [len(gpus())]
    where = f"the cluster of RAY_ADDRESS={os.environ['RAY_ADDRESS']}" if joins else "this machine"
    if not any(counts) and hardware.device == "auto":
        return "cpu"
    if not any(counts):
        raise RunError(
            f"hardware.device='cuda': {where} has no GPU. Add dry_run=true to see the plan, "
            "or start with recipe=mab_tiny, which runs on a CPU"
        )
    if sum(count >= hardware.gpus_per_node for count in counts) < hardware.nodes:
        nodes = f"hardware.nodes={hardware.nodes} " if joins else ""
        raise RunError(
            f"{nodes}hardware.gpus_per_node={hardware.gpus_per_node}: {where} has {', '.join(map(str, counts))}"
            + (" on its nodes" if joins else "")
        )
    return "cuda"


ASKED = (
    "import json, ray; ray.init(log_to_driver=False, logging_level='ERROR'); "
    "print(json.dumps([int(node['Resources'].get('GPU', 0)) for node in ray.nodes() if node['Alive']]))"
)
"""Prints the number of GPUs of every node of the cluster of RAY_ADDRESS."""

PATIENCE = 60.0
"""Seconds that a cluster may take to answer."""


def cluster_gpus() -> list[int]:
    """GPUs of every node of the cluster of RAY_ADDRESS, asked in a process of its own, as Ray reads its settings once.

    Raises ``RunError`` if no cluster answers.
    """
    reason = f"nothing in {PATIENCE:.0f} s"
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=PATIENCE)
        with suppress(ValueError, IndexError):
            counts: list[int] = json.loads(done.stdout.strip().splitlines()[-1])
            return counts
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    raise RunError(
        f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no cluster answers there ({reason}); start Ray, or unset it"
    )


def gpus() -> list[str]:
    """Name and memory of every GPU that torch sees; empty without torch."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in found]


def gpu_gib() -> float:
    """GiB of this machine's smallest GPU; 0 without one."""
    if not gpus():
        return 0.0
    import torch

    count = torch.cuda.device_count()
    return float(min(torch.cuda.get_device_properties(index).total_memory for index in range(count)) / 2**30)


KERNELS = "128"
"""Entries of torch's two caches of compiled matrix products on a CPU. Every number of tokens adds one of 0.6 MiB: with
torch's 1024 entries memory grows for tens of iterations."""


def cores() -> int:
    """Cores that this process may use: fewer than the machine's under taskset and in some containers."""
    return len(os.sched_getaffinity(0))


def prepare(kind: str, nodes: int = 1) -> dict[str, str]:
    """Set and return the environment variables of the driver and of every Ray worker, before Ray is imported."""
    environment = {
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "VERL_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    if nodes == 1 and "RAY_ADDRESS" not in os.environ:
        environment |= {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # makes Ray use the loopback address, on Linux too
            "VLLM_HOST_IP": LOOPBACK,  # verl's servers listen on the same address
            "RAY_task_events_report_interval_ms": "0",  # off: it records 100,000 tasks for a dashboard that is off
        }
    if kind == "cpu":
        threads = str(cores())
        environment |= {
            "VERL_PLATFORM": "cpu",  # selects the platform that cpu_platform registers with verl
            "VERL_ENGINE_DEVICE": "cuda",  # verl registers the FSDP engine for cuda only; it runs on any device
            "VLLM_TARGET_DEVICE": "cpu",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # no pinning: the trainer shares the cores
            "OMP_NUM_THREADS": threads,
            "LRU_CACHE_CAPACITY": KERNELS,
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": KERNELS,
            "TORCHDYNAMO_DISABLE": "1",  # compiling vLLM's small helpers with gcc costs more than a short run gains
            "RAY_worker_niceness": "0",  # Ray's default of 15 starves the run if anything else uses the cores
        }
    os.environ.update(environment)
    _torchvision_loads()
    return environment


def _torchvision_loads() -> None:
    """Raise ``RunError`` if torchvision was built for another torch: no transformers model could be imported."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torchvision")
    except Exception as error:
        raise RunError(
            f"torchvision does not fit the installed torch ({str(error).splitlines()[0]}). "
            "Text models need none of it: pip uninstall -y torchvision torchaudio torchcodec"
        ) from error


class Ray:
    """Ray on this machine for one backend, or a connection to the cluster of ``RAY_ADDRESS``."""

    def __init__(self, kind: str, environment: dict[str, str], hardware: HardwareConfig) -> None:
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        self._scratch = None if "RAY_ADDRESS" in os.environ else Scratch()
        if self._scratch is not None:
            environment = environment | self._scratch.environment
            options |= {"include_dashboard": False, "_temp_dir": str(self._scratch.path / "ray")}
            if hardware.nodes == 1:
                options |= {"_node_ip_address": LOOPBACK}
            if kind == "cpu":
                # One logical GPU per worker, and enough CPUs for verl's idle helper actors.
                options |= {"num_cpus": max(16, cores()), "num_gpus": hardware.gpus_per_node}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options, runtime_env={"env_vars": environment})
        except BaseException as error:
            self.stop()
            if "timed out during startup" in str(error):
                raise RunError(
                    f"Ray did not start in its 30 s: the machine is too busy ({os.getloadavg()[0]:.0f} processes wait "
                    f"for {cores()} cores). Start again when it is less so"
                ) from error
            raise
        if callable(handler):  # Ray replaces the handler of SIGTERM; put the run's own back
            signal.signal(signal.SIGTERM, handler)

    def stop(self, waiting: Sequence[Thread] = ()) -> None:
        """Shut Ray down. Kill its workers' processes that hang for more than ``GRACE`` seconds.

        ``waiting`` are threads that wait for Ray. Their actors are killed first, so that they end: one that calls Ray
        after its shutdown starts another Ray, or ends this process without a word.
        """
        import psutil
        import ray

        started = _started()
        if waiting and (self._scratch is None or _has_gcs()):
            _kill_actors()
            end = time.monotonic() + GRACE
            for thread in waiting:
                thread.join(max(0.0, end - time.monotonic()))
        ray.shutdown()
        _, left = psutil.wait_procs(started, timeout=GRACE)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._scratch is not None:
            self._scratch.close()


def _kill_actors() -> None:
    """Kill all of this run: verl names every one."""
    import ray

    with suppress(Exception):  # a cluster may be what has died
        for name in ray.util.list_named_actors():
            ray.kill(ray.get_actor(name))


def _has_gcs() -> bool:
    """Whether the server lives that all of Ray waits for, a minute long once it is gone."""
    import psutil

    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.name() == "gcs_server" and child.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _started() -> list[Any]:
    """All processes that the raylet of this process has started, down to vLLM's engine."""
    import psutil

    found: list[Any] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # the child has ended meanwhile
            found += child.children(recursive=True) if child.name() == "raylet" else []
    return found


def plugin_loaded(kind: str) -> None:
    """Raise ``RunError`` if verl did not load our CPU platform: verl hides plug-in errors."""
    if kind != "cpu":
        return
    from verl.plugin.platform import get_platform

    found = get_platform().device_name
    if found != "cpu":
        raise RunError(f"verl chose the platform {found!r} on a CPU run: reinstall rmft_verl (its verl.plugins entry)")
