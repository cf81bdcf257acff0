"""The outcome of a finished run, read from its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rmft_verl.eval import metrics
from rmft_verl.eval.compare.runs import Planned
from rmft_verl.store import env_copy
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.stored_config import stored_config
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_kept, read_trajectories
from rmft_verl.types import RunError, Scenario, Trajectory

START = (
    "model.",
    "rollout.history",
    "rollout.on_invalid",
    "rollout.structured",
    "rollout.examples",
    "rollout.reply_tokens",
    "rollout.top_p",
    "eval.temperature",
)
"""Prefixes of the keys that determine the untrained player of a run."""

Row = Mapping[str, Any]
"""One iteration of metrics.jsonl."""


def _regret(trajectories: Sequence[Trajectory]) -> float:
    return metrics.value_or(metrics.UNKNOWN, metrics.normalized_regret, trajectories)


HELD_OUT = "heldout/normalized_regret"
MEASURES = {
    "normalized_regret": _regret,
    "suffix_failure": metrics.suffix_failure_frequency,
    "min_fraction": metrics.scaled_min_fraction,
}
"""What a comparison follows over the updates."""


@dataclass(frozen=True)
class Outcome:
    """One run: the held-out trajectories of its base and its last model, and its cost."""

    label: str
    seed: int
    path: Path
    config: Mapping[str, Any]
    """Its stored configuration by dotted key."""
    base: tuple[Trajectory, ...]
    trained: tuple[Trajectory, ...]
    kept: tuple[Trajectory, ...]
    """The kept trajectories of the last iteration."""
    rows: tuple[Row, ...]
    source: str = ""
    """Equal for runs whose environments have the same source."""

    @cached_property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The held-out scenarios, in the order in which they were drawn."""
        return tuple({trajectory.scenario.id: trajectory.scenario for trajectory in self.base}.values())

    @cached_property
    def environments(self) -> tuple[str, ...]:
        return tuple(sorted({scenario.env for scenario in self.scenarios}))

    @cached_property
    def measured_on(self) -> frozenset[str]:
        """Ids of the held-out scenarios and the environment's source; runs in which both are equal can be paired."""
        return frozenset(scenario.id for scenario in self.scenarios) | ({self.source} if self.source else set())

    @property
    def start(self) -> str:
        """Equal for runs that started from the same player."""
        return repr(sorted((key, str(value)) for key, value in self.config.items() if key.startswith(START)))

    @property
    def taught(self) -> bool:
        """Whether an algorithm played the rollouts, which then say nothing about the model."""
        return str(self.config.get("rollout.player", "model")) != "model"

    @property
    def tokens_sampled(self) -> float:
        return _total(self.rows, "rollout/tokens")

    @property
    def tokens_trained(self) -> float:
        return _total(self.rows, "update/tokens")

    @property
    def seconds(self) -> float:
        return sum(_total(self.rows, key) for key in {key for row in self.rows for key in row if key[:5] == "time/"})

    def within(self, environment: str) -> Outcome:
        """The part of the run that was played in one environment."""
        base, trained, kept = (_within(part, environment) for part in (self.base, self.trained, self.kept))
        return dataclasses.replace(self, base=base, trained=trained, kept=kept)

    def on(self, base: Sequence[Trajectory]) -> Outcome:
        """The run with these plays of its base, which are what it measured before its first update too."""
        measured = {f"heldout/{key}": measure(base) for key, measure in MEASURES.items()}
        measured |= {f"{HELD_OUT}/{name}": _regret(_within(base, name)) for name in self.environments}
        first = {key: measured.get(key, value) for key, value in self.rows[0].items()}
        return dataclasses.replace(self, base=tuple(base), rows=(first, *self.rows[1:]))


def read(run: Planned) -> Outcome:
    """The outcome of a finished run. Raises ``RunError`` if a file is missing or damaged."""
    opened = RunDir.open(run.path)
    evaluated, trained = opened.recorded("eval"), opened.recorded("train")
    if len(evaluated) < 2 or not trained:
        raise RunError(f"{run.path} holds no evaluation of a base and of a trained model: train it again")
    rollouts = opened.trajectories("train", trained[-1])
    played = read_trajectories(rollouts)
    config = stored_config(run.path)
    return Outcome(
        label=run.arm.label,
        seed=run.seed,
        path=run.path,
        config=config,
        base=tuple(read_trajectories(opened.trajectories("eval", evaluated[0]))),
        trained=tuple(read_trajectories(opened.trajectories("eval", evaluated[-1]))),
        kept=tuple(played[place] for place in read_kept(rollouts) or ()),
        rows=tuple(read_metrics(opened.metrics)),
        source=env_copy.fingerprint(run.path, config),
    )


def _within(trajectories: Sequence[Trajectory], environment: str) -> tuple[Trajectory, ...]:
    return tuple(trajectory for trajectory in trajectories if trajectory.scenario.env == environment)


def _total(rows: Sequence[Row], key: str) -> float:
    return float(sum(row[key] for row in rows if row.get(key) is not None))
