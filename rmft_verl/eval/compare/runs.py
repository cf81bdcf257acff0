"""The run directory of every arm and seed: ROOT/LABEL_seedS, or an existing one. Missing runs are trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmft_verl.config import Config
from rmft_verl.env import load_env
from rmft_verl.eval.compare.arms import Arm
from rmft_verl.setup.env_checks import check_fit
from rmft_verl.setup.recipe import load_config
from rmft_verl.store import env_copy
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.stored_config import differences, stored_config
from rmft_verl.store.tracking import warn
from rmft_verl.types import RunError

SEED = "{seed}"
"""In an override: the run's seed, so that every seed has a base of its own (``model.path=tiny:weak-{seed}``)."""


@dataclass(frozen=True)
class Planned:
    """One arm with one seed."""

    arm: Arm
    seed: int
    path: Path
    arguments: tuple[str, ...] = ()
    """Arguments of ``rmft_verl.main``; empty for an existing run."""
    env_dirs: tuple[str, ...] = ()
    """Folders with drop-in environments."""

    @property
    def finished(self) -> bool:
        return (self.path / "report" / "table.json").exists()


def plan(arms: Sequence[Arm], seeds: Sequence[int], root: Path, *, only_read: bool = False) -> list[Planned]:
    """Existing runs, then those of recipes seed by seed, so that an interrupted comparison covers all arms.

    Every configuration is loaded and checked. Raises ``RunError`` for one that cannot run, an existing run that has not
    finished, or a run of another configuration (with ``only_read`` a warning).
    """
    made_before = [run for arm in arms if not arm.recipe for run in _runs_made(arm)]
    planned = [_planned(arm, seed, root, only_read) for seed in seeds for arm in arms if arm.recipe]
    return made_before + planned


def _planned(arm: Arm, seed: int, root: Path, only_read: bool) -> Planned:
    path = root / f"{arm.label}_seed{seed}"
    overrides = (pair.replace(SEED, str(seed)) for pair in arm.overrides)
    arguments = (f"recipe={arm.recipe}", *overrides, f"seed={seed}", f"root={root}", f"name={path.name}")
    try:
        config = load_config(arguments)
        check_fit(config, load_env(config.env.name, config.env_dirs))
    except RunError as error:
        raise RunError(f"arm {arm.label}: {error}") from error
    run = Planned(arm, seed, path, arguments, tuple(config.env_dirs))
    if run.finished or (path / "state.json").exists():
        _check_stored(run, config, only_read)
    elif path.is_dir() and any(path.iterdir()) and not (path / "state.json").exists():
        raise RunError(f"{path} exists and is not a run: choose another LABEL or --root")
    return run


def _runs_made(arm: Arm) -> list[Planned]:
    runs: list[Planned] = []
    for path in arm.runs:
        opened = RunDir.open(path)
        config = stored_config(opened.path)
        run = Planned(arm, int(config.get("seed", 0)), opened.path, env_dirs=tuple(config.get("env_dirs", ())))
        if not run.finished:
            raise RunError(f"arm {arm.label}: {path} has not finished (no report/table.json)")
        runs.append(run)
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise RunError(f"arm {arm.label}: two of its runs have the same seed")
    return runs


def _check_stored(run: Planned, config: Config, only_read: bool) -> None:
    changed = differences(env_copy.same_place(run.path, stored_config(run.path), config), config)
    changed += [f"another {name}" for name in env_copy.changed(run.path, config)]
    if not changed:
        return
    said = f"{run.path} was trained with {'; '.join(changed)}"
    if not only_read:
        raise RunError(
            f"{said}: choose another LABEL or --root, remove it (rm -r {run.path}), or read it with --report-only"
        )
    warn(f"{said}; it is read as it is")


# ---- training -------------------------------------------------------------------------------------------------------


def train(planned: Sequence[Planned]) -> list[str]:
    """Train every run that has not finished, one after another; returns a message for each that failed.

    An interrupted run resumes after its last finished phase.
    """
    missing = [run for run in planned if not run.finished]
    failed: list[str] = []
    for number, run in enumerate(missing, start=1):
        print(f"== {run.arm.label}, seed {run.seed} ({number} of {len(missing)} to train)", flush=True)
        status = call([sys.executable, "-m", "rmft_verl.main", *run.arguments])
        if status or not run.finished:
            failed.append(f"{run.arm.label}, seed {run.seed}: the run failed with exit status {status}")
            warn(f"{failed[-1]}; the others go on")
    return failed


def call(command: Sequence[str]) -> int:
    """Run a command in this terminal until it ends; returns its exit status.

    An interrupt also reaches the command; this waits until it has stopped its own processes.
    """
    process = subprocess.Popen(list(command))
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
