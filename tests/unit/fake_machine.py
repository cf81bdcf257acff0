"""Whole runs on ``FakeBackend``: the real commands, trainer and files, and nothing heavy below them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fake_backend import FakeBackend, Fuse

import rmft_verl.train.run
from rmft_verl.config import Config
from rmft_verl.env import load_env
from rmft_verl.setup.prepare import Prepared
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.tracking import read_metrics

SMALL = (
    "recipe=mab_tiny",
    "env.options.horizon=[4]",
    "rollout.scenarios=2",
    "rollout.rollouts=3",
    "selection.keep=2",
    "update.batch=2",
    "eval.scenarios=3",
)


class Machine:
    """Stands for verl and vLLM: every run that starts gets a new ``FakeBackend``."""

    def __init__(self) -> None:
        self.fuse = Fuse()
        self.backends: list[FakeBackend] = []
        self.make: Callable[..., FakeBackend] = FakeBackend

    def prepare(self, config: Config) -> Prepared:
        env_class, unused = load_env(config.env.name, config.env_dirs), {}
        absent: Any = None
        return Prepared(config, env_class, "cpu", "model", absent, True, unused, unused, {})  # type: ignore[arg-type]

    def start(self, prepared: Prepared, directory: Path) -> Any:
        self.backends.append(self.make(prepared.env_class, self.fuse))
        return self.backends[-1]


def plain_report(directory: Path, sets: Any, rows: Sequence[Any], remark: str = "", page: Any = None) -> Any:
    """Instead of figures and a page, which cost a second."""
    (directory / "table.txt").write_text("table")
    (directory / "table.json").write_text(json.dumps(len(rows)))

    class Table:
        def text(self) -> str:
            return "table"

    return Table()


def start(root: Path, *arguments: str, name: str = "run") -> Path:
    return rmft_verl.train.run.run(load_config([*SMALL, "iterations=3", f"root={root}", f"name={name}", *arguments]))


def facts(run: Path) -> dict[str, Any]:
    """All that a run leaves behind, but for times."""
    rows = read_metrics(run / "metrics.jsonl")
    timed = ("time/", "rollout/tokens_per_second")
    return {
        "rows": [{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows],
        "plays": {path.name: path.read_bytes() for path in sorted((run / "trajectories").iterdir())},
        "weights": (run / "checkpoints" / "final" / "weights.npy").read_bytes(),
        "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
        "files": sorted(path.name for path in run.iterdir()),
    }
