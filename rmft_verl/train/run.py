"""One training run from a checked configuration to its report."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rmft_verl.config import BALL, Config
from rmft_verl.env import Env, load_env
from rmft_verl.env.seeds import HELD_OUT_SEED, held_out_scenarios
from rmft_verl.eval.algorithms import evaluate_players, references
from rmft_verl.eval.metrics import scored
from rmft_verl.eval.report import write_report
from rmft_verl.eval.table import EvalTable
from rmft_verl.setup.console import Screen
from rmft_verl.setup.disk import refuse_full_disk
from rmft_verl.setup.fit import refuse_unfit
from rmft_verl.setup.hosted import KIND
from rmft_verl.setup.models import chat_template, dated
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import reload_config
from rmft_verl.setup.start import start_backend
from rmft_verl.setup.warmup import warmed, warmup_config
from rmft_verl.store import env_copy
from rmft_verl.store.fork import begin_from, forked
from rmft_verl.store.record import logged_rows
from rmft_verl.store.run_dir import RunDir, RunState, write_text
from rmft_verl.store.stored_config import check_same
from rmft_verl.store.tracking import FileTracker, Tracker, Trackers, check_installed, start_wandb
from rmft_verl.train.interrupt import Signals, resumable
from rmft_verl.train.results import change_in_words, held_out, untrained
from rmft_verl.train.trainer import Trainer
from rmft_verl.train.view import page_writer
from rmft_verl.types import RunError, Trajectory


def run(config: Config) -> Path:
    """Train as configured, or resume the existing run; returns its directory.

    Nothing is written before everything has been checked.
    """
    screen = Screen()
    found = find_run(config)
    if found is not None and is_trained(found, config):
        _finish(config, load_env(config.env.name, config.env_dirs), found, screen)
        return found.path
    if config.warmup.scenarios and not (warmed(config) / "config.json").is_file():
        screen.console.print("warm-up first: the model learns the form of an answer from a uniform player")
        run(warmup_config(config))
    prepared = prepare(config)
    refuse_unfit(prepared)
    if found is None:
        refuse_full_disk(prepared)
    with begun(config, found, screen) as directory:
        _train(prepared, directory, screen)
        _finish(config, prepared.env_class, directory, screen)
    return directory.path


@contextlib.contextmanager
def begun(config: Config, found: RunDir | None, screen: Screen) -> Iterator[RunDir]:
    """The directory of the run, locked until the block ends: ``found``, or a new one, filled from ``fork`` if set.

    A signal or an error in the block leaves a state to resume from, and the user is told how.
    """
    text = OmegaConf.to_yaml(OmegaConf.structured(dataclasses.replace(config, resume="")))
    directory = found or RunDir.create(config.root, _name(config), text, partial(_filled, config))
    with directory.held(), Signals() as signals, resumable(directory.path, signals):
        screen.console.print(f"run directory: {directory.path}")
        if found is None and config.fork:
            screen.console.print(f"begins after iteration {directory.read_state().iteration} of {config.fork}")
        if found is not None:
            directory.sweep()
            (directory.report / "table.json").unlink(missing_ok=True)  # it is of fewer iterations
            write_text(directory.config, text)
            state = directory.read_state()
            screen.console.print(f"going on after phase {state.phase!r} of iteration {state.iteration}")
        yield directory


def _filled(config: Config, new: RunDir) -> RunState:
    """Put into a new run what it begins with; returns its state."""
    if config.env.name != BALL:
        env_copy.keep(new.path, config)
    return begin_from(RunDir.open(config.fork), config, new) if config.fork else RunState(phase="start")


def _name(config: Config) -> str:
    return config.name or f"{config.recipe or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"


def find_run(config: Config) -> RunDir | None:
    """The run to resume, or None for a new one.

    Raises ``RunError`` if the run had another configuration, or the new one cannot be made. Nothing is written.
    """
    path = Path(config.resume or Path(config.root) / _name(config)).expanduser()
    if not config.resume and not (path / "state.json").exists():
        check_installed(config.tracking.backends, config.tracking.wandb)
        if config.fork:
            forked(RunDir.open(config.fork), config)
        RunDir.new(path.parent, path.name)
        return None
    found = RunDir.open(path)
    check_same(found, config)
    if config.model.chat_template_file:
        _check_template(found, config)
    return found


def _check_template(found: RunDir, config: Config) -> None:
    """Raise ``RunError`` if the text of ``model.chat_template_file`` is not that of the run's start."""
    if found.verl_config.is_file():
        before = OmegaConf.load(found.verl_config).actor_rollout_ref.model.custom_chat_template
        if before != chat_template(config):
            raise RunError(
                f"{found.path} was started with another text of model.chat_template_file="
                f"{config.model.chat_template_file} (kept in {found.verl_config.name}): restore it, or choose another "
                "name=..."
            )


def is_trained(directory: RunDir, config: Config) -> bool:
    """Whether nothing is left to train: the report exists, or all that it needs."""
    state = directory.read_state()
    if state.completed < config.iterations:
        return False
    return state.phase == "save" or (directory.report / "table.json").exists()


def _train(prepared: Prepared, directory: RunDir, screen: Screen) -> None:
    tracker = start_trackers(prepared.config, directory)
    start = time.monotonic()
    backend = None
    try:
        pinned = dated(env_copy.from_copy(directory.path, prepared.config), directory.date)
        played = dataclasses.replace(prepared, config=pinned)
        backend = start_backend(played, directory.path)
        if prepared.kind == KIND:
            screen.console.print(f"plays and learns behind an API: {prepared.model_path}")
        else:
            write_text(directory.verl_config, OmegaConf.to_yaml(prepared.verl_config))
            screen.console.print(f"verl and vLLM are up on {prepared.kind} after {time.monotonic() - start:.0f} s")
        Trainer(prepared.config, prepared.env_class, backend, directory, tracker, screen.watch).train(screen.iteration)
    finally:
        if backend is not None:
            backend.close()
        tracker.close()


def _finish(config: Config, env_class: type[Env], directory: RunDir, screen: Screen) -> None:
    """Write the report unless it exists, and print the result."""
    if (directory.report / "table.json").exists():
        screen.console.print(f"{directory.path} has finished: its {config.iterations} iterations are done")
        screen.console.print((directory.report / "table.txt").read_text(encoding="utf-8"), markup=False)
    else:
        sets = held_out(directory)
        screen.console.print(_write_report(config, env_class, directory, sets).text(), markup=False)
        change = change_in_words(sets["base"], sets["trained"])
        screen.console.print(f"normalized regret, trained against base: {change}", markup=False)
    screen.console.print(f"figures and tables: {directory.report}\nmodel: {directory.checkpoints / 'final'}")


def start_trackers(config: Config, directory: RunDir) -> Tracker:
    others: list[Tracker] = []
    plain: Any = OmegaConf.to_container(OmegaConf.structured(config))
    if config.tracking.wandb != "disabled":
        others.append(
            start_wandb(
                directory.path,
                project=config.tracking.project,
                name=directory.path.name,
                run_id=directory.read_state().wandb_id,
                mode=config.tracking.wandb,
                config=plain,
            )
        )
    if config.tracking.backends:
        from rmft_verl.bridge.verl_tracking import VerlTracker

        others.append(
            VerlTracker(
                directory.path,
                project=config.tracking.project,
                name=directory.path.name,
                backends=config.tracking.backends,
                config=plain,
            )
        )
    return Trackers(FileTracker(directory.metrics), *others)


def report_run(path: Path) -> str:
    """Write the report of a run again from its files; returns the table as text."""
    directory = RunDir.open(path)
    config = reload_config(directory.config, [])
    with env_copy.as_begun(directory.path, config.env.name, config.env_dirs) as env_class:
        return _write_report(config, env_class, directory, held_out(directory)).text()


def _write_report(
    config: Config, env_class: type[Env], directory: RunDir, sets: dict[str, list[Trajectory]]
) -> EvalTable:
    """Write ``sets`` and the reference players, on the same held-out scenarios and draws."""
    rows, scenarios = logged_rows(directory), held_out_scenarios(config, env_class)
    kinds = (play.oracle.kind for plays in sets.values() for play in scored(plays))
    names = references(env_class, scenarios, kinds)
    played = evaluate_players(env_class, names, scenarios, config.eval.rollouts, HELD_OUT_SEED)
    page = page_writer(config, env_class, directory, sets)
    return write_report(directory.report, sets | played, rows, untrained(directory, sets), page)
