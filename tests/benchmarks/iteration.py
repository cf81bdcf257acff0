"""Training iterations through verl: each phase timed apart, its tokens kept so that a yardstick can do them again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.algo.scores import Scorer
from rmft_verl.algo.selection import count, select
from rmft_verl.bridge.backend import Backend
from rmft_verl.env import make_generator
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import episode_seeds
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.store.tracking import FileTracker
from rmft_verl.store.trajectory_file import write_kept, write_trajectories
from rmft_verl.train.iteration_metrics import kept_metrics, rollout_metrics
from rmft_verl.types import Batch, RolloutRequest, RunError, Tokens, Trajectory

PHASES = ("rollout", "score", "select", "log", "update", "sync")
"""In the order of an iteration. ``log``: the parquet file and the metrics row; ``sync`` includes the canary."""


@dataclass(frozen=True)
class Iteration:
    """One measured iteration."""

    seconds: dict[str, float]
    """Wall time of each of ``PHASES``."""
    played: list[Tokens]
    """Every dialogue of the rollout."""
    trained: list[Tokens]
    """The dialogues of the update."""
    sampled_tokens: int
    trained_tokens: int
    """Tokens of the dialogues trained on, prompts included, epochs counted."""
    batch: int
    """Dialogues in one optimizer step."""


class Stopwatch:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def measure(arguments: list[str], repeats: int, scratch: Path) -> tuple[Prepared, dict[str, float], list[Iteration]]:
    """What was prepared, the seconds of each part of the start-up, and the iterations, a warm-up first."""
    startup = Stopwatch()
    with startup("prepare"):
        config = load_config(arguments)
        if config.hardware.nodes * config.hardware.gpus_per_node > 1:
            raise RunError("the yardsticks run in one process: bench with hardware.nodes=1 hardware.gpus_per_node=1")
        prepared = prepare(config)
    with startup("verl and vLLM"):
        backend = start_backend(prepared, scratch)
    try:
        with startup("first sync"):
            backend.sync(0)
        return prepared, startup.seconds, [_iterate(prepared, backend, scratch, n) for n in range(1, repeats + 2)]
    finally:
        backend.close()


def _iterate(prepared: Prepared, backend: Backend, scratch: Path, n: int) -> Iteration:
    """Iteration ``n`` as the trainer runs it, without the evaluation."""
    config, watch = prepared.config, Stopwatch()
    requests = _requests(prepared, n)
    with watch("rollout"):
        rolled = backend.rollout(requests, n - 1)
    with watch("score"):
        played = [score(trajectory) for trajectory in rolled]
    rng = np.random.default_rng([config.seed, n])
    with watch("select"):
        scored = Scorer(config.selection.score, _generator(prepared), config.selection.further)(played, rng)
        keep, by = count(config.selection.keep, config.rollout.rollouts), config.selection.group_by
        places = [one.place for one in select(scored, keep=keep, by=by, rng=rng)]
        kept = [played[place] for place in places]
    with watch("log"):
        write_trajectories(scratch / f"train_{n}.parquet", played, phase="train", iteration=n)
        write_kept(scratch / f"train_{n}.parquet", places)
        row = rollout_metrics(played, watch.seconds["rollout"]) | kept_metrics(kept, places, scored) if kept else {}
        FileTracker(scratch / "metrics.jsonl").log(row, n)
    if not kept:
        raise RunError(f"none of {len(played)} trajectories is valid: bench with a model that plays the game")
    size = config.update.batch
    kept = kept[: len(kept) // size * size] or kept  # whole batches: nothing is dropped, so both train on the same
    with watch("update"):
        updated = backend.update(Batch(kept, range(len(kept))), seed=n)
    with watch("sync"):
        backend.sync(n)
    assert updated["update/dropped"] == 0
    played_tokens, trained = _tokens(played), _tokens(kept)
    return Iteration(
        watch.seconds,
        played_tokens,
        trained,
        sampled_tokens=sum(int(tokens.sampled_N.sum()) for tokens in played_tokens),
        trained_tokens=int(updated["update/tokens"]),
        batch=round(len(kept) * config.update.epochs / updated["update/steps"]),
    )


def _generator(prepared: Prepared) -> Any:
    return make_generator(prepared.env_class, prepared.config.env.options)


def _requests(prepared: Prepared, n: int) -> list[RolloutRequest]:
    """L plays of each of M fresh scenarios, as many as an iteration of the recipe has."""
    config = prepared.config
    rng = np.random.default_rng([config.seed, n])
    generator = _generator(prepared)
    return [
        RolloutRequest(scenario, *episode_seeds(n, i, member), temperature=config.rollout.temperature)
        for i, scenario in enumerate(generator.draw(rng) for _ in range(config.rollout.scenarios))
        for member in range(config.rollout.rollouts)
    ]


def _tokens(trajectories: list[Trajectory]) -> list[Tokens]:
    return [tokens for trajectory in trajectories for tokens in trajectory.tokens]
