"""``rmft-verl view``: one run, or two side by side, as a page that opens from disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rmft_verl.bridge.sampling.reading import token_reader
from rmft_verl.config import BALL, Config
from rmft_verl.env import Env
from rmft_verl.env.seeds import HELD_OUT_SEED, held_out_scenarios
from rmft_verl.eval.algorithms import evaluate_players, references
from rmft_verl.eval.metrics import scored
from rmft_verl.eval.table import EvalTable, summarize
from rmft_verl.eval.view import Page
from rmft_verl.eval.view.contents import Source
from rmft_verl.setup.recipe import reload_config
from rmft_verl.store.env_copy import as_begun
from rmft_verl.store.places import check_place
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import read_metrics, warn
from rmft_verl.train.results import change_in_words, held_out, untrained
from rmft_verl.types import RunError, Trajectory

PAGE = "index.html"
"""Name of a run's page in its report."""


RELOAD = 30
"""Seconds after which a browser reads the page of a run that still trains again, and ``live`` looks at the run."""


def view(paths: Sequence[Path], out: Path | None = None, reload: int = 0) -> Path:
    """Write the page of one or two runs, finished or not; returns where it is.

    ``out``: by default report/index.html of the first run, or report/beside_SECOND.html of it. ``reload``: seconds
    after which a browser reads the page again, 0 for never. Raises ``RunError`` before anything is written.
    """
    directories = [RunDir.open(path) for path in paths]
    first, *others = directories
    place = out or first.report / "_".join([*(f"beside_{other.path.name}.html" for other in others)] or [PAGE])
    check_place(place)
    page = Page(len(directories))
    for directory in directories:
        _add(page, directory)
    place.parent.mkdir(parents=True, exist_ok=True)
    page.write(place, reload)
    return place


def live(
    path: Path,
    out: Path | None = None,
    told: Callable[[Path], None] = print,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Write a run's page whenever an iteration has ended, until the run has its report; returns where the page is.

    Until then the page reloads itself; the last one does not. ``told`` gets its place after the first. Waits for the
    measurement of the base. Raises as ``view``.
    """
    directory, shown = RunDir.open(path), -1
    while not (directory.report / "table.json").exists():
        done = max(directory.recorded("eval") + directory.recorded("train"), default=-1)
        if directory.recorded("eval") and done > shown:
            place, first, shown = view([path], out, RELOAD), shown < 0, done
            if first:
                told(place)
        wait(RELOAD)
    return view([path], out)


def page_writer(
    config: Config, env_class: type[Env], directory: RunDir, sets: Mapping[str, Sequence[Trajectory]]
) -> Callable[[EvalTable], None]:
    """A function that writes report/index.html of a run, given its table.

    It never raises an ``Exception``: a run that has trained for days must not fail at its page.
    """

    def write(table: EvalTable) -> None:
        try:
            page = Page()
            _put(page, config, env_class, directory, sets, table.to_json())
            page.write(directory.report / PAGE)
        except Exception as error:
            warn(f"{directory.report / PAGE} is not written ({type(error).__name__}: {error}); see rmft-verl view")

    return write


def _add(page: Page, directory: RunDir) -> None:
    config = reload_config(directory.config, [])
    if config.env.name == BALL:
        raise RunError(
            f"{directory.path} plays the games of the theorem, which are no dialogues: see {directory.report}"
        )
    imported = directory.recorded("train") and not directory.recorded("eval")
    sets = {} if imported else held_out(directory)
    with as_begun(directory.path, config.env.name, config.env_dirs) as env_class:
        table = _table(config, env_class, directory, sets) if sets else []
        _put(page, config, env_class, directory, sets, table)


def _put(
    page: Page,
    config: Config,
    env_class: type[Env],
    directory: RunDir,
    sets: Mapping[str, Sequence[Trajectory]],
    table: Sequence[Mapping[str, Any]],
) -> None:
    verdict = untrained(directory, sets)
    if not verdict:
        change = change_in_words(list(sets["base"]), list(sets["trained"]))
        verdict = f"normalized regret, trained against base: {change}"
    rows = read_metrics(directory.metrics) if directory.metrics.exists() else []
    places = [directory.checkpoints / "final", Path(config.model.path).expanduser()]
    source = Source(directory, config, env_class, token_reader(*places))
    page.add(source, rows, table, verdict)


def _table(
    config: Config, env_class: type[Env], directory: RunDir, sets: dict[str, list[Trajectory]]
) -> list[dict[str, Any]]:
    """The rows of the run's report or, if it has none yet, of the models measured so far beside the references."""
    file = directory.report / "table.json"
    if file.exists() and (written := json.loads(file.read_text(encoding="utf-8"))):
        return list(written)
    scenarios = held_out_scenarios(config, env_class)
    names = references(env_class, scenarios, (play.oracle.kind for plays in sets.values() for play in scored(plays)))
    played = evaluate_players(env_class, names, scenarios, config.eval.rollouts, HELD_OUT_SEED)
    return summarize(sets | played).to_json()
