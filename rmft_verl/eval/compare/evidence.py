"""The evidence of a comparison, small enough to store beside it: runs without words, tokens and weights."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from omegaconf import OmegaConf

from rmft_verl.env import is_path
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.store import env_copy
from rmft_verl.store.run_dir import RunDir, RunState, replacing, write_text
from rmft_verl.store.trajectory_file import read_trajectories, write_kept, write_trajectories
from rmft_verl.types import Trajectory


def write_evidence(run: Outcome, folder: Path) -> None:
    """Write ``folder``/LABEL_seedS: a run that holds only what ``compare`` reads of ``run``. Like the table, it
    replaces its predecessor.
    """
    small = RunDir(folder / f"{run.label}_seed{run.seed}")
    shutil.rmtree(small.path / "trajectories", ignore_errors=True)
    for directory in (small.path / "trajectories", small.report):
        directory.mkdir(parents=True, exist_ok=True)
    last = int(run.rows[-1]["iteration"])
    for phase, iteration, trajectories in (
        ("eval", 0, run.base),
        ("eval", last, run.trained),
        ("train", last, run.kept),
    ):
        bare = [without_words(trajectory) for trajectory in trajectories]
        write_trajectories(small.trajectories(phase, iteration), bare, phase=phase, iteration=iteration)
    write_kept(small.trajectories("train", last), range(len(run.kept)))
    _write_evals(run.path, small.path)
    shutil.copyfile(run.path / "metrics.jsonl", small.metrics)
    shutil.copyfile(run.path / "report" / "table.json", small.report / "table.json")
    config: Any = OmegaConf.load(run.path / "config.yaml")
    config.root = "runs"  # do not publish where the run was made
    config.env_dirs = [Path(folder).name for folder in config.get("env_dirs", ())]
    config.env.name = Path(config.env.name).name if is_path(config.env.name) else config.env.name
    if (run.path / env_copy.FOLDER).is_dir():
        shutil.rmtree(small.path / env_copy.FOLDER, ignore_errors=True)
        shutil.copytree(run.path / env_copy.FOLDER, small.path / env_copy.FOLDER)
    write_text(small.config, OmegaConf.to_yaml(config))
    small.write_state(RunState(iteration=last, phase="save"))


def _write_evals(run: Path, small: Path) -> None:
    """What ``--ood`` has played: ``small``/evals, with nothing but the trajectories."""
    played = {path.relative_to(run): read_trajectories(path) for path in run.glob("evals/*/trajectories/*.parquet")}
    shutil.rmtree(small / "evals", ignore_errors=True)
    for place, trajectories in played.items():
        (small / place).parent.mkdir(parents=True, exist_ok=True)
        write_trajectories(small / place, [without_words(one) for one in trajectories], phase="eval", iteration=0)


@contextmanager
def packed(folder: Path) -> Iterator[Path]:
    """A directory with what the archive ``folder``.zip holds; what is in it at the end of the block is the archive."""
    staged = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    if _archive(folder).is_file():
        with ZipFile(_archive(folder)) as archive:
            archive.extractall(staged)
    yield staged
    with replacing(_archive(folder)) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        for path in (file for file in sorted(staged.rglob("*")) if file.is_file()):
            entry = ZipInfo(path.relative_to(staged).as_posix())  # no date: equal evidence gives equal archives
            archive.writestr(entry, path.read_bytes(), ZIP_DEFLATED)
    shutil.rmtree(staged)


@contextmanager
def unpacked(folder: Path) -> Iterator[None]:
    """In the block ``folder`` also holds what the archive ``folder``.zip has and ``folder`` lacks."""
    if not _archive(folder).is_file():
        yield
        return
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    with ZipFile(_archive(folder)) as archive:
        added = [name for name in archive.namelist() if name.partition("/")[0] not in there]
        archive.extractall(folder, added)
    try:
        yield
    finally:
        for name in dict.fromkeys(name.partition("/")[0] for name in added):
            shutil.rmtree(folder / name, ignore_errors=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _archive(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.zip")


def without_words(trajectory: Trajectory) -> Trajectory:
    """The trajectory without what was said and without tokens."""
    turns = tuple(dataclasses.replace(turn, messages=(), text="") for turn in trajectory.turns)
    return dataclasses.replace(trajectory, turns=turns, tokens=())
