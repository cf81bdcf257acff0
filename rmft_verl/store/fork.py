"""Begins a new run from the state of another run, with a different configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

from rmft_verl.config import Config
from rmft_verl.store import checkpoints, env_copy
from rmft_verl.store.run_dir import RunDir, RunState, write_text
from rmft_verl.store.stored_config import differences, stored_config
from rmft_verl.store.trajectory_file import kept_file
from rmft_verl.types import RunError

KEPT = ("env", "env_dirs", "model", "eval")
"""Keys that a fork cannot change: its rows and held-out trajectories continue those of its source."""


def forked(source: RunDir, config: Config) -> int:
    """The iteration of ``source`` after which a run of ``config`` begins: the last complete one with a trainer state.

    Raises ``RunError`` if there is no such iteration, none would follow it, or a key of ``KEPT`` differs.
    """
    found = differences(env_copy.same_place(source.path, stored_config(source.path), config), config)
    if changed := [line for line in found if line.partition("=")[0].partition(".")[0] in KEPT]:
        raise RunError(f"fork={source.path}: {'; '.join(changed)}: a fork cannot change these; start a new run instead")
    if config.update.start == "current" and stored_config(source.path).get("update.start") == "base":
        raise RunError(
            f"fork={source.path}: update.start=current: its states hold no optimizer, as each of its updates began at "
            "the base; keep update.start=base, or start a new run instead"
        )
    env_copy.check_source(source.path, config)
    complete = [n for n in checkpoints.steps(source.checkpoints) if n <= source.read_state().completed]
    if not complete:
        raise RunError(f"fork={source.path}: it has no complete iteration with a saved state; start a new run instead")
    last = complete[-1]
    if config.iterations <= last:
        raise RunError(
            f"fork={source.path}: iterations={config.iterations}: it has {last} already; set iterations above {last}"
        )
    return last


def begin_from(source: RunDir, config: Config, new: RunDir) -> RunState:
    """Copy the iterations of ``source`` into ``new``, up to the ``forked`` one. Returns the matching run state.

    Raises ``RunError`` as ``forked``, and ``RunDirError`` if the trainer state is damaged.
    """
    last = forked(source, config)
    state = checkpoints.step(source.checkpoints, last)
    checkpoints.verify(state, f"remove it (rm -r {state}) to fork from the one before")

    def copy(path: Path) -> None:
        shutil.copytree(state, path, ignore=shutil.ignore_patterns(checkpoints.MANIFEST))

    checkpoints.write_directory(checkpoints.step(new.checkpoints, last), copy)
    for phase in ("train", "eval"):
        for n in source.recorded(phase):
            if n <= last:
                shutil.copy2(source.trajectories(phase, n), new.trajectories(phase, n))
                if (kept := kept_file(source.trajectories(phase, n))).exists():
                    shutil.copy2(kept, kept_file(new.trajectories(phase, n)))
    rows = source.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    write_text(new.metrics, "".join(rows[: last + 1]))
    return RunState(iteration=last, phase="log")
