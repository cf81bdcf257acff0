"""Kill -9 of the whole process tree of a real run, at random moments and at every phase boundary; then start again.

    python tests/experiments/kills.py OUT [--random 20] [--whole 3] [--minutes M] [--iterations 4] [--every 1]
        [--seed 0] [--fake]

Makes OUT/kills.md, a table of every kill, and exits 1 if a check fails. What is checked after each kill and start:
the run goes on after the phase that was finished; in the end no file of plays that was there at a kill holds other
plays, no file of an iteration that was finished was touched, rows were only added, and the last held-out figures lie
within those of ``--whole`` runs that nobody killed (and of one of half the iterations that was then continued).
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
from real_run import FAKE, SMALL, Tree, fingerprints, litter, plays, state

from rmft_verl.store.run_dir import PHASES, RunDir

MEASURED = ("heldout/normalized_regret", "heldout/regret", "update/loss")


@dataclass
class Kill:
    """One kill: when it fell and what was on file then."""

    run: str
    moment: str
    found: tuple[int, str]
    seconds: float
    plays: dict[str, str]
    finished: dict[str, tuple[int, str]]
    """Fingerprints of the files of iterations that were complete."""
    rows: bytes


class Campaign:
    """Runs below one directory, all of one configuration."""

    def __init__(self, out: Path, iterations: int, fake: bool) -> None:
        self.out, self.iterations = out, iterations
        self._program = (str(FAKE),) if fake else ("-m", "rmft_verl.main")
        self.kills: list[Kill] = []
        self._shared = not fake  # the fake backend makes no shared memory; others on the machine do
        self._litter = litter(self._shared)
        self.failures: list[str] = []

    def start(self, name: str, iterations: int | None = None) -> Tree:
        arguments = [
            *SMALL,
            f"iterations={iterations or self.iterations}",
            "eval.scenarios=8",
            f"root={self.out}",
            f"name={name}",
        ]
        before = state(self.out / name) if (self.out / name).exists() else None
        log = self.out / f"{name}.log"
        with log.open("a") as output:
            output.write(f"---- start at {before}\n")
        return Tree(log, arguments, self._program)

    def whole(self, name: str, iterations: int | None = None) -> float:
        """A run (or the rest of one) that nobody kills; returns its seconds."""
        begun = time.monotonic()
        tree = self.start(name, iterations)
        self.check(tree.process.wait() == 0, f"{name} ended with {tree.process.returncode}: {tree.log}")
        self.check(not (left := tree.gone()), f"{name} left processes: {left}")
        self.check(not (lies := litter(self._shared) - self._litter), f"{name} left {sorted(lies)}")
        return time.monotonic() - begun

    def killed_at(self, name: str, edge: tuple[int, str]) -> None:
        """Start, and kill as soon as ``edge`` is reached."""
        tree, begun = self.start(name), time.monotonic()
        while before(state(self.out / name), edge) and tree.process.poll() is None:
            time.sleep(0.002)
        self._kill(tree, name, f"after {edge[1]} {edge[0]}", time.monotonic() - begun)

    def killed_after(self, name: str, seconds: float) -> bool:
        """Start, and kill some time later; returns False if the run had ended before."""
        tree, begun = self.start(name), time.monotonic()
        while time.monotonic() - begun < seconds and tree.process.poll() is None:
            time.sleep(0.02)
        if tree.process.poll() is not None:
            self.check(tree.process.returncode == 0, f"{name} ended with {tree.process.returncode}: {tree.log}")
            return False
        self._kill(tree, name, "random", seconds)
        return True

    def _kill(self, tree: Tree, name: str, moment: str, seconds: float) -> None:
        self.check(tree.process.poll() is None, f"{name} ended with {tree.process.returncode} before {moment}")
        if tree.process.poll() is None:
            tree.kill()
        run, found = self.out / name, state(self.out / name)
        complete = RunDir.open(run).read_state().completed if found != (0, "start") else 0
        finished = {
            key: mark for key, mark in fingerprints(run).items() if int(key[-11:-8]) <= complete - (found[0] == 0)
        }
        rows = (run / "metrics.jsonl").read_bytes() if (run / "metrics.jsonl").exists() else b""
        self.kills.append(Kill(name, moment, found, seconds, plays(run), finished, rows))
        print(f"{name}: killed {moment}, {seconds:.1f} s after its start, at {found}", flush=True)

    def check(self, fine: bool, said: str) -> None:
        if not fine:
            self.failures.append(said)
            print(f"FAILED: {said}", flush=True)

    def judge(self, name: str) -> None:
        """Hold what a run has in the end against what it had at each of its kills."""
        run = self.out / name
        last, marks, rows = plays(run), fingerprints(run), (run / "metrics.jsonl").read_bytes()
        for number, kill in enumerate(kill for kill in self.kills if kill.run == name):
            self.check(kill.plays.items() <= last.items(), f"{name}, kill {number}: plays were sampled again")
            self.check(kill.finished.items() <= marks.items(), f"{name}, kill {number}: a finished file was touched")
            self.check(rows.startswith(kill.rows), f"{name}, kill {number}: a row was changed")
        numbers = [json.loads(line)["iteration"] for line in rows.splitlines()]
        self.check(numbers == list(range(self.iterations + 1)), f"{name}: rows of {numbers}")
        self.check(state(run) == (self.iterations, "save"), f"{name} is at {state(run)}")
        partial = [str(path) for path in run.rglob("*") if path.name.endswith((".part", ".partial"))]
        self.check(not partial, f"{name} left {partial}")
        started = (self.out / f"{name}.log").read_text()
        for part in started.split("---- start at ")[1:]:
            where, _, said = part.partition("\n")
            if where not in ("None", "(0, 'start')") and "verl and vLLM are up" in said:
                iteration, phase = ast.literal_eval(where)
                self.check(f"going on after phase {phase!r} of iteration {iteration}" in said, f"{name}: not {where}")

    def compare(self, names: Sequence[str], whole: Sequence[str]) -> None:
        """The last figures of runs that were killed lie among those of the others, or as near as they are."""
        for key in MEASURED:
            usual = np.array([self.last(name)[key] for name in whole])
            room = np.ptp(usual) + 1e-3 * np.abs(usual).max()
            for name in names:
                found = self.last(name)[key]
                self.check(
                    usual.min() - room <= found <= usual.max() + room, f"{name}: {key} is {found}, not of {usual}"
                )

    def last(self, name: str) -> dict[str, Any]:
        row = json.loads((self.out / name / "metrics.jsonl").read_text().splitlines()[-1])
        return {key: row[key] for key in MEASURED}


def before(found: tuple[int, str], edge: tuple[int, str]) -> bool:
    return (found[0], PHASES.index(found[1])) < (edge[0], PHASES.index(edge[1]))


def edges(iterations: int) -> list[tuple[int, str]]:
    """The end of every phase of a run, in order. After the last one the run is still to be reported."""
    zeroth = [(0, phase) for phase in ("sync", "evaluate", "log")]
    others = [(n, phase) for n in range(1, iterations + 1) for phase in PHASES[1:-1]]
    return [*zeroth, *others, (iterations, "save")]


def killed(campaign: Campaign) -> str:
    lines = ["| run | kill | seconds after the start | last finished phase | files of plays |", "|---|---|---|---|---|"]
    for kill in campaign.kills:
        at = f"{kill.found[1]} {kill.found[0]}"
        lines.append(f"| {kill.run} | {kill.moment} | {kill.seconds:.1f} | {at} | {len(kill.plays)} |")
    return "\n".join(lines) + "\n"


def ended(campaign: Campaign, names: Sequence[str], whole: Sequence[str]) -> str:
    columns = ["run", "kills", *MEASURED, f"files with the plays of {whole[0]}"]
    lines = ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    reference = plays(campaign.out / whole[0])
    for name in [*whole, *names]:
        kills = sum(kill.run == name for kill in campaign.kills)
        figures = " | ".join(f"{value:.4f}" for value in campaign.last(name).values())
        own = plays(campaign.out / name)
        same = sum(own[key] == reference[key] for key in reference)
        lines.append(f"| {name} | {kills} | {figures} | {same} of {len(reference)} |")
    lines += ["", f"{len(campaign.kills)} kills, {len(campaign.failures)} failures", *campaign.failures]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--random", type=int, default=20, help="kills at random moments")
    parser.add_argument("--iterations", type=int, default=4, help="of a run")
    parser.add_argument("--every", type=int, default=1, help="kill at every so-manyth phase boundary")
    parser.add_argument("--fake", action="store_true", help="the fake backend of the unit tests below the real trainer")
    parser.add_argument("--whole", type=int, default=3, help="runs that nobody kills")
    parser.add_argument("--minutes", type=float, default=1e9, help="no kill after these; what was begun is finished")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(arguments)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    campaign, rng = Campaign(options.out, options.iterations, options.fake), np.random.default_rng(options.seed)
    whole = [f"whole{i}" for i in range(options.whole)]
    seconds = campaign.whole(whole[0])
    print(f"a whole run takes {seconds:.0f} s", flush=True)
    names, left, todo = ["edges", "random0"], options.random, edges(options.iterations)[:: options.every]
    ends = time.monotonic() + 60 * options.minutes
    while (todo or left) and time.monotonic() < ends:
        if todo:
            campaign.killed_at("edges", todo.pop(0))
        if left:
            left -= campaign.killed_after(names[-1], float(rng.uniform(0, seconds)))
            if state(options.out / names[-1]) == (options.iterations, "save"):
                names.append(f"random{len(names) - 1}")
        (options.out / "kills.md").write_text(killed(campaign))
    begun = [name for name in names if (options.out / name).exists()]
    begun.sort(key=lambda name: state(options.out / name) == (options.iterations, "save"))  # which starts no Ray again
    for name in [*begun, *whole[1:]]:
        campaign.whole(name)
    campaign.whole("halves", options.iterations // 2)
    campaign.whole("halves")
    names = [name for name in [*names, "halves"] if (options.out / name).exists()]
    for name in names:
        campaign.judge(name)
    campaign.compare(names, whole)
    text = killed(campaign) + ended(campaign, names, whole)
    (options.out / "kills.md").write_text(text)
    print(text)
    return bool(campaign.failures)


if __name__ == "__main__":
    sys.exit(main())
