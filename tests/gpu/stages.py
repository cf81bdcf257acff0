"""What to run on a GPU first, in the order of its value; each stage takes three minutes at most and leaves JSON.

    python tests/gpu/stages.py OUT [a b c1 c2 c3 d e] [--smollm2 DIRECTORY] [--dry-run]

a   losses and gradients against float64; tokens/s and MFU of updates of Qwen3's shapes of 0.6B and 1.7B, random weights
b   rollout against vLLM's offline generate, seconds of a sync, canary
c1  mab_smollm2 for five iterations by posterior regret; c2 by the true regret; c3 at random
d   fol_numeric
e   the update of a shape of 8B with LoRA

``--dry-run``: the plans of all runs, and the other commands as they would be called. A stage that fails or takes too
long does not keep the next from running.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LIMIT = 180.0
"""Seconds of a stage."""

SHAPES = {
    "0.6B": ("1024", "28", "16", "8", "3072"),
    "1.7B": ("2048", "28", "16", "8", "6144"),
    "8B": ("4096", "36", "32", "8", "12288"),
}
RULES = {
    "posterior": (),
    "true": ("selection.score=regret", "selection.further=0"),
    "random": ("selection.score=random", "selection.further=0"),
}
LORA = ("model.lora.rank=32", "update.lr=1e-4", "hardware.gpu_memory=0.4")
SHORT = ("model.context=4096", "rollout.reply_tokens=64", "env.options.horizon=[10]")
ONE_GPU = ("hardware.gpus_per_node=1", "hardware.device=cuda")


def stages(out: Path, smollm2: str) -> dict[str, list[list[str]]]:
    """Stage -> its commands in order. Each is a script of this folder, of the benchmarks, or a run."""
    models = {name: str(out / f"qwen3_{name}") for name in SHAPES}
    make = {name: [str(HERE / "random_model.py"), models[name], *shape] for name, shape in SHAPES.items()}
    update, bench = str(HERE / "exact.py"), str(HERE.parent / "benchmarks" / "bench.py")
    played = (*SHORT, "rollout.structured=true", "rollout.scenarios=16", "warmup.scenarios=0")

    def smollm2_run(name: str) -> list[str]:
        size = (
            "rollout.scenarios=128",
            "eval.scenarios=64",
            "eval.every=5",
            "iterations=5",
            "hardware.max_num_seqs=256",
        )
        where = (f"root={out / 'runs'}", f"name=smollm2_{name}", f"model.path={smollm2}")
        return ["-m", "rmft_verl.main", "recipe=mab_smollm2", *size, *where, *ONE_GPU, *RULES[name]]

    return {
        "a": [
            [update, "losses", "--json", str(out / "losses.json")],
            make["0.6B"],
            [update, "speed", f"model.path={models['0.6B']}", *SHORT, *ONE_GPU, "--json", str(out / "speed_0.6B.json")],
            make["1.7B"],
            [update, "speed", f"model.path={models['1.7B']}", *SHORT, *ONE_GPU, "--json", str(out / "speed_1.7B.json")],
        ],
        "b": [
            [
                *(bench, "recipe=mab_qwen3", f"model.path={models['0.6B']}", *ONE_GPU, *played),
                *("--repeats", "1", "--json", str(out / "bench_0.6B.json")),
            ],
        ],
        **{f"c{n}": [smollm2_run(name)] for n, name in enumerate(RULES, 1)},
        "d": [["-m", "rmft_verl.main", "recipe=fol_numeric", f"root={out / 'runs'}", "name=fol_numeric"]],
        "e": [
            make["8B"],
            [
                update,
                "speed",
                f"model.path={models['8B']}",
                *SHORT,
                *ONE_GPU,
                *LORA,
                "--json",
                str(out / "speed_8B.json"),
            ],
        ],
    }


def run(name: str, commands: list[list[str]], out: Path, limit: float = LIMIT) -> dict[str, object]:
    """Run the commands of a stage one after the other; returns, and writes to ``out``, what became of each."""
    end, told = time.monotonic() + limit, []
    for command in commands:
        start, left = time.monotonic(), end - time.monotonic()
        try:
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=max(1.0, left))
            rc, tail = done.returncode, (done.stdout + done.stderr)[-4000:]
        except subprocess.TimeoutExpired as error:
            rc, tail = 124, f"{error}"
        told.append({"command": command, "rc": rc, "seconds": time.monotonic() - start, "tail": tail})
        if rc:
            break
    found = {"stage": name, "finished": len(told) == len(commands) and not told[-1]["rc"], "commands": told}
    (out / f"stage_{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("stages", nargs="*", metavar="a|b|c1|c2|c3|d|e")
    parser.add_argument("--smollm2", default="smollm2-soft", help="default: where rmft-verl smollm2 puts the copy")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    found = stages(options.out.resolve(), options.smollm2)
    if unknown := set(options.stages) - set(found):
        parser.error(f"no stage {', '.join(sorted(unknown))}: they are {', '.join(found)}")
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.stages or found:
        commands = found[name]
        if options.dry_run:
            print(f"stage {name}", *(f"  python {shlex.join(command)}" for command in commands), sep="\n")
            commands = [[*command, "dry_run=true"] for command in commands if command[0] == "-m"]
        done = run(name, commands, options.out) if commands else {"finished": True}
        print(f"stage {name}: {'finished' if done['finished'] else f'NOT finished, see stage_{name}.json'}")
        failed += not done["finished"]
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
