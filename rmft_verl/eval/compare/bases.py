"""The plays of the base, by which every change of a comparison divides: those of its runs, and further ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rmft_verl.env import EnvLoadError
from rmft_verl.env.source import find_source
from rmft_verl.eval.compare import runs
from rmft_verl.eval.compare.evidence import without_words
from rmft_verl.eval.compare.numbers import Arms
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.directory import Episode, EvalDir, episode
from rmft_verl.eval.options import MODEL
from rmft_verl.store.tracking import warn
from rmft_verl.store.trajectory_file import read_trajectories, write_trajectories
from rmft_verl.types import Trajectory, content_hash

FOLDER = "bases"
"""Folder, beside the runs, of the further plays: a file for each untrained player and set of scenarios."""

Bases = Mapping[str, Sequence[Trajectory]]
"""Name of an untrained player on a set of scenarios (``name_of``) -> its further plays."""


def name_of(run: Outcome) -> str:
    """Equal for runs that started from the same player and were measured on the same scenarios."""
    return content_hash([run.start, sorted(scenario.id for scenario in run.scenarios)])


def further_plays(arms: Arms, root: Path, plays: int) -> tuple[dict[str, list[Trajectory]], list[str]]:
    """The plays stored in ``root``/bases; each base with fewer than ``plays`` a scenario is played first.

    Also returns a message for each base that could not be played.
    """
    alike: dict[str, list[Outcome]] = {}
    for run in (run for several in arms.values() for run in several):
        alike.setdefault(name_of(run), []).append(run)
    found: dict[str, list[Trajectory]] = {}
    failed: list[str] = []
    for name, group in alike.items():
        path = root / FOLDER / f"{name}.parquet"
        stored = read_trajectories(path) if path.exists() else []
        known = distinct(play for part in (*(run.base for run in group), stored) for play in part)
        if len(known) < plays * len(group[0].scenarios):
            played = _play(group[0], plays)
            if played:
                stored = played
                path.parent.mkdir(parents=True, exist_ok=True)
                write_trajectories(path, stored, phase="eval", iteration=0)
            else:
                failed.append(f"the base of {group[0].label} could not be played {plays} times a scenario")
                warn(f"{failed[-1]}; its changes rest on the plays of the runs")
        if stored:
            found[name] = stored
    return found, failed


def with_bases(arms: Arms, bases: Bases) -> dict[str, list[Outcome]]:
    """The arms with one base for all runs of one untrained player on the same scenarios (``distinct``)."""
    pooled: dict[str, list[Trajectory]] = {}
    for run in (run for several in arms.values() for run in several):
        pooled.setdefault(name_of(run), []).extend(run.base)
    shared = {name: distinct([*plays, *bases.get(name, ())]) for name, plays in pooled.items()}
    return {label: [run.on(shared[name_of(run)]) for run in several] for label, several in arms.items()}


def distinct(plays: Iterable[Trajectory]) -> list[Trajectory]:
    """The first play of each episode, that is of each scenario and pair of seeds: on a CPU all runs play it alike.

    What was played must not decide, or frequent plays would count less often than rare ones.
    """
    found: dict[Episode, Trajectory] = {}
    for play in plays:
        found.setdefault(episode(play), play)
    return list(found.values())


def write_bases(bases: Bases, folder: Path) -> None:
    """Write ``folder``/bases, beside the evidence of the runs."""
    for name, plays in bases.items():
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        write_trajectories(folder / FOLDER / f"{name}.parquet", plays, phase="eval", iteration=0)


def luck_of_the_base(arms: Arms) -> str:
    """A line that says on how many plays of the base all changes against it rest; ``arms`` as of ``with_bases``."""
    least = min(len(run.base) / len(run.scenarios) for several in arms.values() for run in several)
    if least >= 2:
        return ""
    return (
        "the base was played once in each scenario: the changes of all arms share the luck of these plays, which their "
        "intervals cover one by one; --base-plays 8 plays it more often"
    )


def _play(run: Outcome, plays: int) -> list[Trajectory]:
    """The held-out plays of a run's base by ``rmft-verl eval``, without words; empty if it fails."""
    print(f"== the base of {run.label}, {plays} plays in each held-out scenario", flush=True)
    env, count = str(run.config["env.name"]), len(run.scenarios)
    options = {
        key.removeprefix(prefix): value
        for prefix in ("env.options.", "env.eval_options.")
        for key, value in run.config.items()
        if key.startswith(prefix)
    }
    if run.source and _source(run, options) != run.source:
        return []  # the environment on this machine is another one by now
    with TemporaryDirectory() as folder:
        out = Path(folder) / "base"
        command = [sys.executable, "-m", "rmft_verl.main.cli", "eval", env, "--players", MODEL]
        command += ["--base", str(run.path), "--scenarios", str(count), "--episodes", str(plays), "--out", str(out)]
        command += ["--option", *(f"{key}={json.dumps(value)}" for key, value in options.items())] if options else []
        command += [word for place in run.config.get("env_dirs", ()) for word in ("--env-dir", str(place))]
        status = runs.call(command)
        played = list(EvalDir(out).stored(env, MODEL).values()) if not status else []
    if {play.scenario.id for play in played} != {scenario.id for scenario in run.scenarios}:
        return []  # it failed, or the environment draws other scenarios than when the run was made
    return [without_words(play) for play in played]


def _source(run: Outcome, options: Mapping[str, object]) -> str:
    try:
        return find_source(str(run.config["env.name"]), run.config.get("env_dirs", ()), list(options)).fingerprint
    except EnvLoadError:
        return ""
