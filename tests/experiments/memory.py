"""Memory and disk of a real small run over many iterations: does anything grow?

    python tests/experiments/memory.py OUT [--iterations 30] [--every 2] [--fake]

Starts a run in OUT/run and, until it ends, reads every few seconds the proportional memory (PSS, which counts what is
shared once) of its driver, its trainer, its sampler and the rest, the shared memory, and the size of the run directory
with and without its checkpoints. Writes OUT/memory.csv and OUT/memory.png, and prints for each the median over the
second fifth and over the last fifth of the iterations.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
from real_run import FAKE, SMALL, Tree, state

GROUPS = {"ray::WorkerDict": "trainer", "VLLM::": "sampler", "ray::DialogueServer": "sampler"}
DISK = ("run without checkpoints", "checkpoints", "/dev/shm")
NAMES = ("driver", "trainer", "sampler", "Ray", *DISK)
MIB = 1 << 20


def memory(tree: Tree) -> dict[str, float]:
    """Proportional memory of every group of processes, MiB."""
    found: dict[str, float] = defaultdict(float)
    for pid in tree.pids():
        try:
            title = (Path("/proc") / str(pid) / "cmdline").read_text()
            rollup = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
        except OSError:  # it has ended meanwhile
            continue
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
        group = "driver" if pid == tree.process.pid else "Ray"
        found[next((name for word, name in GROUPS.items() if word in title), group)] += pss
    return found


def size(path: Path) -> float:
    """MiB that the files below a directory take on disk."""
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            try:
                total += os.lstat(os.path.join(folder, file)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total / MIB


def watch(tree: Tree, run: Path, every: float, path: Path) -> list[dict[str, float]]:
    """What is there every so many seconds; each row is written at once."""
    rows: list[dict[str, float]] = []
    path.write_text(",".join(("seconds", "iteration", *NAMES)) + "\n")
    while tree.process.poll() is None:
        iteration, _ = state(run)
        checkpoints = size(run / "checkpoints")
        disk = {"run without checkpoints": size(run) - checkpoints, "checkpoints": checkpoints}
        disk["/dev/shm"] = size(Path("/dev/shm"))
        rows.append({"seconds": time.monotonic(), "iteration": iteration, **memory(tree), **disk})
        with path.open("a", newline="") as file:
            csv.DictWriter(file, ["seconds", "iteration", *NAMES]).writerow(rows[-1])
        time.sleep(every)
    return rows


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Left: what each group of processes has more than at the end of the first iteration; right: disk."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    after = [row for row in rows if row["iteration"] >= 1 and (row["iteration"] < rows[-1]["iteration"])]
    numbers = [row["iteration"] for row in after]
    for name in NAMES[: -len(DISK)]:
        if name in after[0]:
            left.plot(numbers, [row[name] - after[0][name] for row in after], label=f"{name} ({after[0][name]:,.0f})")
    for name in DISK:
        right.plot(numbers, [row[name] for row in after], label=name)
    left.set(xlabel="iteration", ylabel="MiB more than after the first")
    right.set(xlabel="iteration", ylabel="MiB", yscale="log")
    for axis in (left, right):
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--fake", action="store_true", help="the fake backend: the driver's memory and the disk alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size = [f"iterations={options.iterations}", "eval.scenarios=8", "eval.every=10"]
    tree = Tree(
        options.out / "log",
        [*SMALL, *size, f"root={options.out}", "name=run"],
        *([(str(FAKE),)] if options.fake else []),
    )
    rows = watch(tree, options.out / "run", options.every, options.out / "memory.csv")
    draw(rows, options.out / "memory.png")
    early, late = (1, 2), (4, 5)
    print("| MiB | second fifth | last fifth |\n|---|---|---|")
    for name in NAMES:
        medians = []
        for low, high in (early, late):
            within = [low * options.iterations / 5 <= row["iteration"] < high * options.iterations / 5 for row in rows]
            medians.append(np.median([row.get(name, np.nan) for row, take in zip(rows, within, strict=True) if take]))
        print(f"| {name} | {medians[0]:,.1f} | {medians[1]:,.1f} |")
    return int(tree.process.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
