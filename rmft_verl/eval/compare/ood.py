"""Base and trained models on targets they were not trained for, by ``rmft-verl eval``; stored results are reused."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rmft_verl.eval.algorithms import play_requests
from rmft_verl.eval.compare import runs
from rmft_verl.eval.compare.numbers import Arms, Comparison, compare_on
from rmft_verl.eval.compare.references import EPISODES
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.directory import EvalDir, episode
from rmft_verl.eval.options import MODEL
from rmft_verl.eval.targets import Target
from rmft_verl.store.tracking import warn
from rmft_verl.types import Trajectory, content_hash

SEED = 0
"""Seed of the scenarios and draws: the default of ``rmft-verl eval``."""

Played = Mapping[str, Sequence[Trajectory]]
"""Target -> the trajectories of one model."""


@dataclass(frozen=True)
class Examination:
    """The targets that every model is evaluated on, and the settings."""

    targets: Sequence[Target]
    scenarios: int
    overrides: Sequence[str] = ()
    """``key=value`` over the configuration of every run, such as a longer context."""
    only_read: bool = False
    """Read what is stored; start no model."""


def examine(arms: Arms, asked: Examination) -> tuple[list[Comparison], list[str]]:
    """A comparison on each target that some run and its base could be evaluated on; messages about failures."""
    failed: list[str] = []
    bases: dict[str, Played] = {}
    there: dict[str, dict[str, list[Outcome]]] = {target.name: {} for target in asked.targets}
    for label, outcomes in arms.items():
        for run in outcomes:
            if run.start not in bases:
                alike = [one for others in arms.values() for one in others if one.start == run.start]
                bases[run.start] = _base(alike, asked, failed)
            base, trained = bases[run.start], _played(run, "trained", asked, failed)
            for name in base.keys() & trained.keys():
                played = dataclasses.replace(run, base=tuple(base[name]), trained=tuple(trained[name]), kept=())
                there[name].setdefault(label, []).append(played)
    comparisons = [_compared(target, there[target.name], asked) for target in asked.targets if there[target.name]]
    return comparisons, failed


def _compared(target: Target, arms: Arms, asked: Examination) -> Comparison:
    requests = target.requests(asked.scenarios, EPISODES, SEED)
    names = target.references([request.scenario for request in requests[::EPISODES]])
    players = {name: play_requests(target.env_class, name, requests) for name in names}
    return compare_on(f"target {target.name}", arms, dict.fromkeys(arms, players))


def _base(alike: Sequence[Outcome], asked: Examination, failed: list[str]) -> Played:
    """The trajectories of the shared base: from the first run that stores them, else played once."""
    for run in alike:
        stored = _stored(_directory(run, "base", asked), asked)
        if len(stored) == len(asked.targets):
            return stored
    return _played(alike[0], "base", asked, failed)


def _played(run: Outcome, which: str, asked: Examination, failed: list[str]) -> Played:
    """The trajectories of a run's ``base`` or ``trained`` model; missing targets are evaluated first."""
    directory = _directory(run, which, asked)
    stored = _stored(directory, asked)
    missing = [target.name for target in asked.targets if target.name not in stored]
    if not missing:
        return stored
    name = f"{run.label}, seed {run.seed}: {which} model on {', '.join(missing)}"
    if asked.only_read:
        warn(f"{name}: not on file")
        return stored
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", "rmft_verl.main.cli", "eval", *missing, "--players", MODEL]
    command += ["--base" if which == "base" else "--run", str(run.path), *asked.overrides]
    command += ["--scenarios", str(asked.scenarios), "--seed", str(SEED), "--out", str(directory)]
    command += [word for folder in run.config.get("env_dirs", ()) for word in ("--env-dir", folder)]
    status = runs.call(command)
    stored = _stored(directory, asked)
    if status or len(stored) < len(asked.targets):
        failed.append(f"{name}: the evaluation failed with exit status {status}")
        warn(f"{failed[-1]}; the others go on")
    return stored


def _directory(run: Outcome, which: str, asked: Examination) -> Path:
    """One directory per number of updates and set of overrides, so that other models' results are not reused.

    What hardware plays is no part of the result.
    """
    name = which if which == "base" else f"{which}_{int(run.rows[-1]['iteration']):03d}"
    kept = sorted(word for word in asked.overrides if not word.startswith("hardware."))
    return run.path / "evals" / (f"{name}_{content_hash(kept)[:8]}" if kept else name)


def _stored(directory: Path, asked: Examination) -> dict[str, list[Trajectory]]:
    """The trajectories of the targets whose episodes are all stored."""
    found: dict[str, list[Trajectory]] = {}
    for target in asked.targets:
        known = EvalDir(directory).stored(target.name, MODEL)
        episodes = [episode(request) for request in target.requests(asked.scenarios, 1, SEED)]
        if all(key in known for key in episodes):
            found[target.name] = [known[key] for key in episodes]
    return found
