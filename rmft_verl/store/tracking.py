"""Trackers of a run: always metrics.jsonl, optionally Weights & Biases and others.

    trackers = Trackers(FileTracker(run.metrics), start_wandb(...)) ; trackers.log(metrics, step) ; trackers.close()

A tracker other than the file never stops a run: only its first failure is reported.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rmft_verl.types import RunError, Trajectory, Turn

MOST_SHOWN = 20_000
"""Most characters of a reply that a tracker gets; the files have all of it."""

BACKENDS = {
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "vemlp_wandb": "volcengine_ml_platform",
    "tensorboard": "tensorboard",
    "clearml": "clearml",
    "trackio": "trackio",
    "rl_insight": "rl_insight",
}
"""verl's trackers that ``tracking.backends`` may name -> the module that each needs. Those that the project implements
itself (wandb, console, file) are left out."""


def warn(text: str) -> None:
    """Print one line to stderr, without logging, whose levels Ray, verl and vLLM all change."""
    print(f"rmft_verl: warning: {text}", file=sys.stderr, flush=True)


class TrackingError(RunError):
    """A tracker cannot start, or a metrics file cannot be read. The message is one line with the remedy."""


def check_backends(backends: Sequence[str]) -> None:
    """Raise ``TrackingError`` for one that is not in ``BACKENDS``."""
    for backend in backends:
        if backend not in BACKENDS:
            raise TrackingError(f"tracking.backends: {backend!r} is none of {', '.join(BACKENDS)}")


def check_installed(backends: Sequence[str], wandb: str) -> None:
    """Raise ``TrackingError`` if a tracker lacks its package. ``wandb``: ``tracking.wandb``."""
    needed = {f"tracking.backends=[{backend}]": BACKENDS[backend] for backend in backends}
    if wandb != "disabled":
        needed[f"tracking.wandb={wandb}"] = "wandb"
    for key, module in needed.items():
        if importlib.util.find_spec(module) is None:
            raise TrackingError(f"{key}: {module} is not installed: pip install {module}, or leave it out")


class Tracker(Protocol):
    """Records the progress of a run. ``step`` is the iteration."""

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_dialogues(self, trajectories: Sequence[Trajectory], step: int) -> None:
        """Show a few of the iteration's dialogues, if the tracker can."""
        ...

    def close(self) -> None: ...


class Trackers:
    """Several trackers as one. Errors of ``files`` are raised; errors of the others are only reported."""

    def __init__(self, files: Tracker, *others: Tracker) -> None:
        self._trackers = (files, *(_Forgiving(other) for other in others))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.log(metrics, step)

    def log_dialogues(self, trajectories: Sequence[Trajectory], step: int) -> None:
        for tracker in self._trackers:
            tracker.log_dialogues(trajectories, step)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


class _Forgiving:
    """Reports a tracker's first failure and raises none: a run of days must survive a lost connection."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._warned = False

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._try(lambda: self._tracker.log(metrics, step))

    def log_dialogues(self, trajectories: Sequence[Trajectory], step: int) -> None:
        self._try(lambda: self._tracker.log_dialogues(trajectories, step))

    def close(self) -> None:
        self._try(self._tracker.close)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # a third party's client may raise anything
            if not self._warned:
                name = type(self._tracker).__name__
                warn(f"{name} failed ({type(error).__name__}: {error}); the run goes on without it")
            self._warned = True


class FileTracker:
    """Writes one JSON object per line: ``iteration`` and the metrics, with every key seen so far in every row.

    A missing or non-finite value is ``null``, so that the file is strict JSON. Each row is synced to disk. A row that
    a crash left half written is dropped when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, None] = {}
        if path.exists():
            _drop_torn_row(path)
            self._keys = dict.fromkeys(key for row in read_metrics(path) for key in row)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        known = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        self._keys |= dict.fromkeys(["iteration", *metrics])
        row = dict.fromkeys(self._keys) | known | {"iteration": step}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def log_dialogues(self, trajectories: Sequence[Trajectory], step: int) -> None:
        """Nothing to do: every trajectory of the run is in its parquet files."""

    def close(self) -> None:
        """Nothing to do: no file stays open between rows."""


def _drop_torn_row(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def read_metrics(path: Path) -> list[dict[str, float | None]]:
    """The rows of a metrics.jsonl, in order; None where a value was missing or not finite.

    A last row without its line end (a crash) is left out; any other damage raises ``TrackingError``.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise TrackingError(f"{path} cannot be read as metrics ({error}): restore it or remove it") from error


class WandbTracker:
    """Logs metrics and dialogues to Weights & Biases. ``run`` is what ``wandb.init`` returned."""

    def __init__(self, run: Any) -> None:
        self._run = run
        run.define_metric("iteration")
        run.define_metric("*", step_metric="iteration")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """End W&B's step. That step equals the iteration, so that a resumed run counts on."""
        self._run.log({"iteration": step, **metrics}, step=step, commit=True)

    def log_dialogues(self, trajectories: Sequence[Trajectory], step: int) -> None:
        """Log a new table under its own key: W&B shows only the first rows of a table that grows."""
        import wandb

        columns = ["which", "regret", "scenario", "player", "stop", "dialogue"]
        rows = [
            [which, t.regret, t.scenario.id, t.player, t.stop_reason.value, render_dialogue(t)]
            for which, t in best_median_worst(trajectories)
        ]
        if rows:
            table = wandb.Table(columns=columns, data=rows)
            self._run.log({"iteration": step, f"dialogues/{step:03d}": table}, step=step, commit=False)

    def close(self) -> None:
        self._run.finish()


def start_wandb(
    directory: Path, *, project: str, name: str, run_id: str, mode: str, config: Mapping[str, Any]
) -> WandbTracker:
    """Start (or, with the same ``run_id``, continue) a W&B run whose local files lie under ``directory``/wandb.

    ``mode`` is ``online``, ``offline`` or ``auto``: what ``WANDB_MODE`` says, else online. Without a login online
    becomes offline, with one warning and no question. Raises ``TrackingError`` if W&B cannot start.
    """
    try:
        import wandb
    except ImportError as error:
        raise TrackingError("tracking.wandb: wandb is not installed: pip install wandb, or disable it") from error
    try:
        chosen = _wandb_mode(mode)
        run = wandb.init(
            project=project,
            name=name,
            id=run_id,
            resume="allow" if chosen == "online" else None,
            dir=directory,
            config=dict(config),
            mode=chosen,
            settings=wandb.Settings(silent=True, console="off"),
        )
    except Exception as error:  # wandb raises many unrelated types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrackingError(
            f"tracking.wandb={mode}: W&B cannot start ({reason}); try tracking.wandb=offline"
        ) from error
    return WandbTracker(run)


def _wandb_mode(mode: str) -> Any:
    import wandb

    chosen = os.environ.get("WANDB_MODE", "online") if mode == "auto" else mode
    if chosen == "online" and not wandb.login(prompt=False, verify=False):
        warn("W&B: no login found, so this run is recorded offline; upload it later with wandb sync")
        return "offline"
    return chosen


def best_median_worst(trajectories: Sequence[Trajectory]) -> list[tuple[str, Trajectory]]:
    """The scored trajectories of lowest, median and highest regret, labelled; empty if none is scored."""
    scored = sorted((t for t in trajectories if t.regret is not None), key=lambda t: t.regret or 0.0)
    if not scored:
        return []
    return [("best", scored[0]), ("median", scored[(len(scored) - 1) // 2]), ("worst", scored[-1])]


def render_dialogue(trajectory: Trajectory) -> str:
    """The dialogue as plain text: every message under its role, and the action and reward of each reply.

    Replies are indented and unprintable characters escaped, so that no reply looks like a message or an outcome.
    """
    names = trajectory.scenario.actions
    blocks: list[str] = []
    for turn in trajectory.turns:
        blocks += [f"[{message.role}]\n{message.content}" for message in turn.messages]
        blocks.append(f"[assistant]\n{_quoted(turn.text)}\n({_outcome(turn, names)})")
    return "\n\n".join(blocks).encode("utf-8", "backslashreplace").decode()


def _quoted(text: str) -> str:
    shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} ... {len(text) - MOST_SHOWN:,} characters more"
    lines = (
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        for line in shown.split("\n")
    )
    return "\n".join(f"  {line}" for line in lines)


def _outcome(turn: Turn, names: Sequence[str]) -> str:
    if turn.action is None:
        return "reply not understood"
    action = str(turn.action) if isinstance(turn.action, tuple) else names[turn.action]
    note = "" if turn.parsed else ", drawn for a reply not understood"
    return f"{action} -> {turn.reward:g}{note}"
