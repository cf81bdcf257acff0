"""The cost model beside what was measured: predicted and measured seconds of the committed runs' phases.

    python tests/benchmarks/cost.py [docs/results/NAME/runs.zip ...] [--gflops 435] [--bandwidth 38]

A prediction gets the run's settings and, in place of the budget's limits, the tokens that were really sampled and
trained on; half of what a dialogue tells is taken for its first prompt. ``--gflops`` (bfloat16) and ``--bandwidth``
(GB/s) are those of the machine of the runs, without other load, as ``bridge.cluster.speed`` measures them.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from rmft_verl.algo import METHODS
from rmft_verl.bridge.shapes import Shape, model_shape
from rmft_verl.setup.cost import Machine, Work, cpu, rollout_seconds, sync_seconds, update_seconds
from rmft_verl.setup.models import tiny_path

RESULTS = Path(__file__).parents[2] / "docs" / "results"
RUNS, GFLOPS, BANDWIDTH = ("demo", "nsmab_smollm2"), 435.0, 38.0
"""Those made since the agent loops run in the sampler's process, and their machine."""
SMOLLM2 = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
PHASES = ("rollout", "update", "sync")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = [RESULTS / name / "runs.zip" for name in RUNS]
    parser.add_argument("zips", nargs="*", type=Path, default=chosen)
    parser.add_argument("--gflops", type=float, default=GFLOPS)
    parser.add_argument("--bandwidth", type=float, default=BANDWIDTH)
    options = parser.parse_args()
    machine = cpu(options.gflops * 1e9, options.bandwidth * 1e9)
    print(f"{'runs of':16} {'phase':8} {'predicted':>9} {'measured':>9}  predicted / measured, median [least, most]")
    for path in options.zips:
        runs = list(compared(path, machine))
        for phase in PHASES:
            pairs = [run[phase] for run in runs]
            ratios = sorted(predicted / measured for predicted, measured in pairs)
            near = sum(0.8 <= ratio <= 1.25 for ratio in ratios)
            print(
                f"{path.parent.name:16} {phase:8} {median(p for p, _ in pairs):9.1f} {median(m for _, m in pairs):9.1f}"
                f"  {median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}], {near} of {len(ratios)} within 25 %"
            )


def compared(path: Path, machine: Machine) -> Any:
    """Of each run whose model played: phase -> predicted and measured seconds."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith("metrics.jsonl")):
            folder = name.rpartition("/")[0]
            config = yaml.safe_load(archive.read(f"{folder}/config.yaml"))
            rows = [json.loads(line) for line in archive.read(name).splitlines()]
            rows = [row for row in rows if row.get("time/update") and row.get("time/rollout")]
            if not rows or config["rollout"].get("player", "model") != "model":
                continue
            mean = {key: median(row[key] for row in rows) for key in rows[0] if isinstance(rows[0][key], (int, float))}
            work = played(config, mean)
            shape = _shape(config["model"]["path"])
            predicted = (
                rollout_seconds(work, shape, machine, 1, 1, config["hardware"]["max_num_seqs"]),
                update_seconds(work, shape, machine, 1, 0, False),
                sync_seconds(work, shape, machine),
            )
            yield {p: (seconds, mean[f"time/{p}"]) for p, seconds in zip(PHASES, predicted, strict=True)}


def played(config: dict[str, Any], mean: dict[str, float]) -> Work:
    """The work of a run's median iteration."""
    rollout, update = config["rollout"], config["update"]
    dialogues, turns = rollout["scenarios"] * rollout["rollouts"], config["env"]["options"]["horizon"][0]
    trained = round(mean["update/samples"] * update["epochs"])
    reply = mean["rollout/tokens"] / dialogues / turns
    told = mean["update/tokens"] / trained - turns * reply
    again = METHODS[update["loss"]].needs_old / update["epochs"]
    steps = round(mean["update/steps"])
    return Work(dialogues, turns, told / 2, told / 2, reply, rollout["rollouts"], trained, steps, again)


def _shape(path: str) -> Shape:
    if path.startswith("tiny:"):
        found = model_shape(str(tiny_path(path.removeprefix("tiny:"))))
        assert found is not None
        return found
    return Shape.from_hf(SMOLLM2)


if __name__ == "__main__":
    main()
