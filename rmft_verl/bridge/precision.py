"""In which numbers a CPU computes: bfloat16 where it has instructions for them, else float32, which is then faster."""

from __future__ import annotations

from pathlib import Path

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls a CPU's instructions for products of bfloat16, Arm's last."""


def cpu_dtype(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """``bfloat16`` or ``float32``; bfloat16, as on a GPU, where the system does not say what its CPU can do."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "bfloat16"
    listed = next(
        (line.split(":")[1].split() for line in lines if line.lower().startswith(("flags", "features"))), None
    )
    return "float32" if listed is not None and BFLOAT16.isdisjoint(listed) else "bfloat16"
