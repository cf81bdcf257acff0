"""One small run on several ranks, replicas and nodes of Ray, all on this machine's CPU: do they do what one rank does?

    python tests/experiments/ranks.py OUT [--layouts one two_ranks four_ranks two_nodes lost_rank lost_node]

Every layout trains ``mab_tiny`` for an iteration in float32, so that losses can be compared. ``two_nodes`` starts Ray
as a cluster of three nodes: one without accelerators, where the driver is, and two with one each. ``lost_rank`` and
``lost_node`` kill one of them while it rolls out, and expect one line. Makes OUT/ranks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.append(str(Path(__file__).resolve().parents[1]))
from real_run import Tree, plays

MIXED = "verl.actor_rollout_ref.actor.fsdp_config.mixed_precision"
WORDS = [
    *("recipe=mab_tiny", "env.options.horizon=[4]", "iterations=1", "eval.scenarios=16", "rollout.scenarios=4"),
    *("rollout.rollouts=4", "selection.keep=2", "update.batch=4", "update.epochs=2", "hardware.device=cpu"),
    *(f"{MIXED}.+{kind}=fp32" for kind in ("param_dtype", "reduce_dtype", "output_dtype")),
    "verl.actor_rollout_ref.rollout.dtype=float32",
]


@dataclass(frozen=True)
class Layout:
    nodes: int = 1
    ranks: int = 1
    """On each node."""
    cluster: bool = False
    kill: str = ""
    """The title of what is killed: the second one that was started."""


LAYOUTS = {
    "one": Layout(),
    "two_ranks": Layout(ranks=2),
    "four_ranks": Layout(ranks=4),
    "two_nodes": Layout(nodes=2, cluster=True),
    "lost_rank": Layout(ranks=2, kill="ray::WorkerDict"),
    "lost_node": Layout(nodes=2, cluster=True, kill="raylet"),
}


@contextmanager
def cluster(nodes: int) -> Iterator[list[int]]:
    """Ray's nodes, the first without accelerators; yields the processes of the others' raylets."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "num_gpus": 0})
    head = set(raylets())
    for _ in range(nodes):
        made.add_node(num_cpus=8, num_gpus=1)
    os.environ["RAY_ADDRESS"] = made.address
    try:
        yield [pid for pid in raylets() if pid not in head]
    finally:
        del os.environ["RAY_ADDRESS"]
        made.shutdown()


def raylets() -> list[int]:
    return [process.pid for process in psutil.Process().children(recursive=True) if process.name() == "raylet"]


def run(layout: Layout, directory: Path) -> dict[str, object]:
    """Exit status, seconds, the last line and what the run has on file."""
    words = [f"hardware.nodes={layout.nodes}", f"hardware.gpus_per_node={layout.ranks}"]
    with cluster(layout.nodes) if layout.cluster else nullcontext([]) as others:
        began = time.monotonic()
        tree = Tree(directory.with_suffix(".log"), [*WORDS, *words, f"root={directory}", "name=run"])
        killed = layout.kill and when_it_plays(tree, directory / "run")
        if killed:
            titled = others if layout.kill == "raylet" else sorted(tree.named(layout.kill))
            os.kill(titled[-1], signal.SIGKILL)
            began = time.monotonic()
        status = tree.process.wait(900)
        seconds = time.monotonic() - began
        left = tree.gone()
        tree.kill()
    lines = [line for line in tree.log.read_text().splitlines() if line.startswith("rmft_verl: ")]
    found = {"status": status, "seconds": seconds, "said": (lines or [""])[-1], "left": len(left)}
    rows = directory / "run" / "metrics.jsonl"
    return found | {"plays": plays(directory / "run"), "row": json.loads(rows.read_text().splitlines()[-1])}


def when_it_plays(tree: Tree, run: Path) -> bool:
    """Wait until the base has been measured, so that the rollout is under way; False if the run has ended before."""
    while tree.process.poll() is None:
        if (run / "trajectories" / "eval_000.parquet").exists():
            time.sleep(1)
            return True
        time.sleep(0.1)
    return False


def table(found: dict[str, dict[str, object]]) -> str:
    """The layouts that end well, beside the first; then those that lose something."""
    first = next(iter(found.values()))
    lines = ["| layout | ranks | seconds | plays as one does | loss, relative difference | canary's slope | weights |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lost = ["", "| killed | exit | after s | says | processes left |", "|---|---|---|---|---|"]
    for name, one in found.items():
        layout, row = LAYOUTS[name], one["row"]
        if layout.kill:
            lost.append(f"| {name} | {one['status']} | {one['seconds']:.0f} | {one['said']} | {one['left']} |")
            continue
        same = [file for file, digest in first["plays"].items() if one["plays"].get(file) == digest]
        differs = abs(row["update/loss"] / first["row"]["update/loss"] - 1)
        lines.append(
            f"| {name} | {layout.nodes * layout.ranks} | {one['seconds']:.0f} | {', '.join(same)} | {differs:.1e} "
            f"| {row['sync/slope']:.4f} | {row['sync/weights']:.0f} |"
        )
    return "\n".join(lines + lost) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in options.layouts:
        found[name] = run(LAYOUTS[name], options.out / name)
        (options.out / "ranks.md").write_text(table(found))
        print(name, {key: found[name][key] for key in ("status", "seconds", "said")}, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
