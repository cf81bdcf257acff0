"""Iterative regret-minimization fine-tuning (Park, Chen, Ozdaglar, Zhang 2026, Algorithm 1), readable in one sitting.

for each iteration:
    draw M scenarios and play L trajectories in each with the current model     rollout
    compute each trajectory's regret, now that the game is over                 score
    keep the k lowest-regret valid trajectories of each scenario                select
    train on the very tokens that were sampled in them                          update
    the new model replaces the old one                                          sync
    measure it on held-out scenarios                                            evaluate
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from rmft_verl.algo import METHODS
from rmft_verl.algo.scores import Scorer
from rmft_verl.bridge.backend import Backend, OnProgress
from rmft_verl.config import Config
from rmft_verl.env import Env, make_generator
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import (
    HELD_OUT_SEED,
    POLICY,
    REWARD,
    SCENARIO,
    SELECTION,
    UPDATE,
    episode_seeds,
    held_out_scenarios,
    stream_seed,
)
from rmft_verl.players.teacher import teach
from rmft_verl.store.checkpoints import write_directory
from rmft_verl.store.record import Record
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import Tracker, read_metrics, warn
from rmft_verl.train.budget import affordable
from rmft_verl.train.iteration_metrics import (
    collapse,
    credit_metrics,
    held_out_metrics,
    kept_metrics,
    rollout_metrics,
    unreadable,
)
from rmft_verl.types import Batch, RolloutRequest, RunError, Trajectory

Watch = Callable[[str, int], AbstractContextManager[OnProgress]]
"""Shows a phase (its name, the number of episodes) to a person while it lasts."""

ReportIteration = Callable[[int, dict[str, float]], None]


class Trainer:
    """One run: a model, an environment, a rule, and a directory that receives everything."""

    def __init__(
        self, config: Config, env_class: type[Env], backend: Backend, run: RunDir, tracker: Tracker, watch: Watch
    ) -> None:
        self._config = config
        self._backend = backend
        self._run = run
        self._tracker = tracker
        self._watch = watch
        self._env_class = env_class
        self._generator = make_generator(env_class, config.env.options)
        self._score = Scorer(config.selection.score, self._generator, config.selection.further)
        self.held_out = held_out_scenarios(config, env_class)
        self._record = Record(run, config.checkpoint)
        self._row: dict[str, float] = {}
        self._first = self._record.first
        self._warned = False

    def train(self, report: ReportIteration) -> None:
        """Run every iteration that the run has not finished; what is on file is not played again."""
        start = self._record.restore(self._backend)
        self._row = self._record.row(start)
        self._measure(start, report)
        for n in range(start + 1, self._config.iterations + 1):
            self._row = self._record.row(n)
            self._learn(n)
            self._measure(n, report)
        with self._phase("save"):
            write_directory(self._run.checkpoints / "final", self._backend.save)
        self._finished("save", self._config.iterations)

    def _learn(self, n: int) -> None:
        """The n-th update, on plays of the model with one update less."""
        played = self._record.plays("train", n, lambda: self._play(n))
        self._finished("rollout", n)
        batch = self._select(played, n)
        if not self._record.logged(n):
            self._tracker.log_dialogues(played, n)
        with self._phase("update"):
            self._row |= self._backend.update(batch, self._seed(UPDATE, n))
        if n % self._config.checkpoint.every == 0:
            with self._phase("checkpoint"):
                self._record.checkpoint(n, self._backend)
        self._finished("update", n)

    def _measure(self, n: int, report: ReportIteration) -> None:
        """The model with ``n`` updates goes to the sampler, plays the held-out scenarios and gets its row."""
        with self._phase("sync"):
            self._row |= self._backend.sync(n)
        self._finished("sync", n)
        if n in (0, self._config.iterations) or n % self._config.eval.every == 0:
            played = self._record.plays("eval", n, lambda: self._evaluate(n))
            self._row |= held_out_metrics(played, self._row)
            if n == 0 and self._config.rollout.player == "model" and (advice := unreadable(played)):
                warn(advice)
            self._finished("evaluate", n)
        if not self._record.logged(n):
            self._tracker.log(self._row, n)
            report(n, self._row)
        self._finished("log", n)

    def _play(self, n: int) -> list[Trajectory]:
        """L trajectories in each of M fresh scenarios, scored."""
        rollout = self._config.rollout
        draw = np.random.default_rng([SCENARIO, self._config.seed, n])
        number = affordable(rollout, read_metrics(self._run.metrics)[:n])
        scenarios = [self._generator.draw(draw) for _ in range(number)]
        requests = [
            RolloutRequest(
                scenario,
                reward_seed=self._seed(REWARD, n, i, 0 if rollout.share_rewards else member),
                policy_seed=self._seed(POLICY, n, i, member),
                temperature=rollout.temperature,
            )
            for i, scenario in enumerate(scenarios)
            for member in range(rollout.rollouts)
        ]
        with self._phase("rollout", len(requests)) as on_progress:
            if rollout.player == "model":
                played = self._backend.rollout(requests, n - 1, on_progress)
            else:
                played = self._backend.render(teach(self._env_class, rollout.player, rollout.history, requests))
            return [score(trajectory) for trajectory in played]

    def _select(self, played: Sequence[Trajectory], n: int) -> Batch:
        """What the update trains on: a function of the plays, the configuration and the seed."""
        rng = np.random.default_rng([SELECTION, self._config.seed, n])
        with self._phase("score"):
            scored = self._score(played, rng)
        batch = METHODS[self._config.update.loss].choose(scored, self._config, rng)
        kept = [played[i] for i in batch.kept]
        self._record.keep(n, batch.kept)
        if not kept:
            raise RunError(
                f"iteration {n}: of {len(played)} trajectories {len(scored)} are valid and none is left to learn from. "
                f"Read {self._run.trajectories('train', n)} or the dialogues in the tracker"
            )
        self._row |= rollout_metrics(played, self._row.get("time/rollout", math.nan))
        self._row |= kept_metrics(kept, batch.kept, scored) | credit_metrics(batch)
        self._first = self._first or dict(self._row)
        if not self._warned and (line := collapse(self._first, self._row)):
            self._warned = True
            warn(line)
        return batch

    def _evaluate(self, n: int) -> list[Trajectory]:
        """The model with ``n`` updates on the held-out scenarios, with the draws every other player gets."""
        config = self._config.eval
        requests = [
            RolloutRequest(scenario, *episode_seeds(HELD_OUT_SEED, i, episode), temperature=config.temperature)
            for i, scenario in enumerate(self.held_out)
            for episode in range(config.rollouts)
        ]
        with self._phase("evaluate", len(requests)) as on_progress:
            return [score(t) for t in self._backend.rollout(requests, n, on_progress)]

    def _finished(self, phase: str, n: int) -> None:
        self._record.finished(phase, n, self._row)

    def _seed(self, purpose: int, *path: int) -> int:
        return stream_seed(purpose, self._config.seed, *path)

    @contextmanager
    def _phase(self, name: str, episodes: int = 0) -> Iterator[OnProgress]:
        start = time.monotonic()
        with self._watch(name, episodes) as on_progress:
            yield on_progress
        self._row[f"time/{name}"] = time.monotonic() - start
