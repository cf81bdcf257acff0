"""``rmft-verl eval``: play each player on each target; write a table and figures. A rerun plays what is missing."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmft_verl import __version__
from rmft_verl.eval.algorithms import plays_all
from rmft_verl.eval.behavior import behavior
from rmft_verl.eval.cost import estimate
from rmft_verl.eval.directory import Episode, EvalDir, episode, file_name
from rmft_verl.eval.figures import draw_choices, draw_regret_curves, draw_scenarios
from rmft_verl.eval.metrics import scored
from rmft_verl.eval.options import MODEL, REFERENCES, add_options, check, own_dirs
from rmft_verl.eval.players import (
    Algorithm,
    ApiModel,
    BackendModel,
    Contestant,
    Recorder,
    base_model,
    trained_model,
)
from rmft_verl.eval.table import EvalTable, summarize
from rmft_verl.eval.targets import Target, parse_targets
from rmft_verl.players import PLAYERS
from rmft_verl.players.api import PREFIX, ApiSettings, Usage
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.setup.console import Screen
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import write_text
from rmft_verl.store.tracking import warn
from rmft_verl.types import RolloutRequest, RunError, Trajectory


@dataclass
class Job:
    """One player on one target."""

    target: Target
    contestant: Contestant
    requests: list[RolloutRequest]
    known: dict[Episode, Trajectory] = field(default_factory=dict)

    @property
    def missing(self) -> list[RolloutRequest]:
        return [request for request in self.requests if episode(request) not in self.known]

    @property
    def played(self) -> list[Trajectory]:
        """The trajectories of ``requests``, in their order."""
        return [self.known[episode(request)] for request in self.requests]

    @property
    def on_file(self) -> list[Trajectory]:
        """``played``, then further trajectories that an earlier command requested."""
        first = {episode(request): self.known[episode(request)] for request in self.requests}
        return list((first | {key: value for key, value in self.known.items() if key not in first}).values())


def add_eval(commands: Any) -> None:
    """Add ``eval`` to the command line; ``commands`` is what ``add_subparsers`` returned."""
    text = "Players times targets: files, one table, figures. Run again, it plays only what is missing."
    parser = commands.add_parser("eval", help="players on environments: files, one table, figures", description=text)
    parser.set_defaults(call=command)
    add_options(parser)


def command(options: argparse.Namespace) -> int:
    """Evaluate as the command line says. Returns the exit status: 1 if all episodes of a player on a target failed.

    Raises ``RunError`` before anything is played if it cannot be done.
    """
    check(options)
    options.env_dir = own_dirs(options.env_dir)
    targets = parse_targets(options.target, options.generator_options, options.env_dir)
    requests = {target.name: target.requests(options.scenarios, options.episodes, options.seed) for target in targets}
    lineups = _lineups(options.players, targets, requests)
    names = dict.fromkeys(name for lineup in lineups.values() for name in lineup)
    contestants = {name: _contestant(name, options, targets) for name in names}
    directory = EvalDir(_out(options, targets))
    asked = _asked(options, targets, contestants)
    directory.check(asked)
    jobs = [
        Job(target, contestants[name], requests[target.name], directory.stored(target.name, name))
        for target in targets
        for name in lineups[target.name]
    ]
    _refuse_shared_files(directory, jobs)
    screen = Screen()
    _agree_on_cost(jobs, options, screen)
    directory.begin(asked)
    screen.console.print(f"evaluation directory: {directory.path}")
    try:
        _play(jobs, directory, screen)
    except KeyboardInterrupt:
        raise RunError(f"stopped; the same command with --out {directory.path} plays what is missing") from None
    finally:
        for contestant in contestants.values():
            contestant.close()
    table = write_results(jobs, directory)
    screen.console.print(table.text(), markup=False)
    _close(jobs, directory, options, screen)
    return int(any(all(trajectory.error for trajectory in job.played) for job in jobs))


# ---- what is asked --------------------------------------------------------------------------------------------------


def _lineups(
    asked: Sequence[str], targets: Sequence[Target], requests: Mapping[str, Sequence[RolloutRequest]]
) -> dict[str, list[str]]:
    """The names of the players on each target, each once, without algorithms that cannot play the target.

    Raises ``RunError`` for an unknown player and for one that can play none of the targets.
    """
    for name in asked:
        if not (name in (*PLAYERS, OraclePlayer.name, REFERENCES, MODEL) or name.startswith(PREFIX)):
            known = ", ".join((*PLAYERS, OraclePlayer.name, REFERENCES, f"{PREFIX}MODEL", MODEL))
            raise RunError(f"player {name!r} is unknown. Known: {known}.")
    lineups: dict[str, list[str]] = {}
    for target in targets:
        scenarios = [request.scenario for request in requests[target.name]]
        names: list[str] = []
        for name in asked:
            if name == REFERENCES:
                names += target.references(scenarios)
            elif name not in PLAYERS or plays_all(name, target.env_class, scenarios):
                names.append(name)
        lineups[target.name] = list(dict.fromkeys(names))
    for name in asked:
        if name != REFERENCES and not any(name in names for names in lineups.values()):
            raise RunError(
                f"player {name!r} cannot play {', '.join(lineups)}: its rewards or actions are of another kind. "
                "Choose another, or references"
            )
    return lineups


def _contestant(name: str, options: argparse.Namespace, targets: Sequence[Target]) -> Contestant:
    if name in PLAYERS or name == OraclePlayer.name:
        return Algorithm(name)
    if name.startswith(PREFIX):
        return ApiModel(
            ApiSettings(
                model=name.removeprefix(PREFIX),
                base_url=options.base_url,
                api_key_env=options.api_key_env,
                concurrency=options.concurrency,
                max_tokens=options.max_tokens,
                temperature=options.temperature,
                timeout=options.timeout,
            )
        )
    if options.run is not None:
        config, version = trained_model(Path(options.run[0]), options.run[1:])
    elif options.base is not None:
        config, version = base_model(Path(options.base[0]), options.base[1:])
    elif options.recipe:
        config, version = load_config([f"recipe={options.recipe[0]}", *options.recipe[1:]]), 0
    else:
        raise RunError(
            "player 'model' needs --recipe NAME [key=value ...], --run RUN or --base RUN: they say which model"
        )
    return BackendModel(config, version, targets, options.env_dir)


def _asked(
    options: argparse.Namespace, targets: Sequence[Target], contestants: dict[str, Contestant]
) -> dict[str, Any]:
    """config.json: everything that determines the numbers."""
    return {
        "rmft_verl": __version__,
        "seed": options.seed,
        "scenarios": options.scenarios,
        "episodes": options.episodes,
        "targets": {target.name: {"env": target.env_name, "options": target.options} for target in targets},
        "players": {name: contestant.identity for name, contestant in contestants.items()},
    }


def _out(options: argparse.Namespace, targets: Sequence[Target]) -> Path:
    if options.out is not None:
        return Path(options.out)
    name = file_name("+".join(target.name for target in targets))[:60].strip("_")
    return Path("evals") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _refuse_shared_files(directory: EvalDir, jobs: Sequence[Job]) -> None:
    files: dict[Path, str] = {}
    for job in jobs:
        name = f"{job.contestant.name} on {job.target.name}"
        path = directory.trajectories(job.target.name, job.contestant.name)
        if files.setdefault(path, name) != name:
            raise RunError(f"{files[path]} and {name} would share the file {path.name}: evaluate them in two --out")


def _agree_on_cost(jobs: Sequence[Job], options: argparse.Namespace, screen: Screen) -> None:
    """Show the cost of each endpoint's requests; a person at a terminal confirms them, unless ``--yes``."""
    asked = False
    for job in jobs:
        if isinstance(job.contestant, ApiModel) and job.missing:
            cost = estimate(job.target.env_class, job.missing, options.max_tokens)
            line = f"{job.contestant.name} on {job.target.name}: {cost.text(options.price_in, options.price_out)}"
            screen.console.print(line, markup=False)
            asked = True
    asks = asked and not options.yes and sys.stdin.isatty()
    if asks and input("Send these requests? [y/N] ").strip().lower() not in ("y", "yes"):
        raise RunError("nothing was sent")


# ---- play and results -----------------------------------------------------------------------------------------------


def _play(jobs: Sequence[Job], directory: EvalDir, screen: Screen) -> None:
    """Play what is missing; each job's file is written when the job is done."""
    for job in jobs:
        if not job.missing:
            continue
        target, name = job.target.name, job.contestant.name
        with screen.watch(f"{name} on {target}", len(job.missing)) as on_progress:
            recorder = Recorder(directory, target, name, on_progress)
            played = job.contestant.play(job.target, job.missing, recorder)
        job.known |= {episode(trajectory): trajectory for trajectory in played}
        directory.finish(target, name, job.on_file)


def write_results(jobs: Sequence[Job], directory: EvalDir) -> EvalTable:
    """Write table.txt, table.json, table.csv, behavior.json and each target's figures; returns the table."""
    sets: dict[str, dict[str, list[Trajectory]]] = {}
    for job in jobs:
        sets.setdefault(job.target.name, {})[job.contestant.name] = job.played
    table = EvalTable(tuple(row for target, played in sets.items() for row in summarize(played, target=target).rows))
    write_text(directory.path / "table.txt", table.text())
    write_text(directory.path / "table.json", json.dumps(table.to_json(), indent=2) + "\n")
    write_text(directory.path / "table.csv", table.csv())
    write_text(directory.path / "behavior.json", json.dumps(behavior(sets), indent=2) + "\n")
    for target, played in sets.items():
        if any(scored(trajectories) for trajectories in played.values()):
            draw_regret_curves(played, directory.figure(target, "curves"))
            draw_scenarios(played, directory.figure(target, "scenarios"))
            draw_choices(played, directory.figure(target, "choices"))
    return table


def _close(jobs: Sequence[Job], directory: EvalDir, options: argparse.Namespace, screen: Screen) -> None:
    for job in jobs:
        errors = [trajectory.error for trajectory in job.played if trajectory.error]
        if errors:
            last = errors[0].strip().splitlines()[-1]
            warn(
                f"{job.contestant.name} on {job.target.name}: {len(errors)} of {len(job.played)} episodes failed, the "
                f"first with {last}; the same command with --out {directory.path} repeats them"
            )
    for name in dict.fromkeys(job.contestant.name for job in jobs if isinstance(job.contestant, ApiModel)):
        used = Usage(**directory.usage(name))
        line = (
            f"{name}: {used.requests:,} answers, {used.prompt_tokens:,} prompt and {used.reply_tokens:,} reply tokens"
        )
        if options.price_in is not None:
            line += f", ${used.dollars(options.price_in, options.price_out):,.2f}"
        screen.console.print(line, markup=False)
    screen.console.print(f"table, figures and trajectories: {directory.path}")
