"""Iterative regret-minimization fine-tuning (Park, Chen, Ozdaglar, Zhang 2026, Algorithm 1).

for each iteration:
    draw M scenarios and play L trajectories in each with the current model     rollout
    compute each trajectory's regret, now that the game is over                 score
    keep the k lowest-regret valid trajectories of each scenario                select
    train on the exact tokens that were sampled in them                         update
    the new model replaces the old one                                          sync
    measure it on held-out scenarios                                            evaluate
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rmft_verl.algo import METHODS
from rmft_verl.algo.distill import teach
from rmft_verl.algo.scores import Scorer
from rmft_verl.bridge.backend import Backend
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
)
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import Tracker, warn
from rmft_verl.train.budget import affordable
from rmft_verl.train.iteration_metrics import (
    collapse,
    credit_metrics,
    few_particles,
    held_out_metrics,
    kept_metrics,
    particle_metrics,
    rollout_metrics,
    unreadable,
)
from rmft_verl.train.loop import Loop, Row, Watch
from rmft_verl.types import Batch, RolloutRequest, RunError, Trajectory


class Trainer(Loop):
    """Trains a language model in an environment by a method; writes a run directory."""

    def __init__(
        self, config: Config, env_class: type[Env], backend: Backend, run: RunDir, tracker: Tracker, watch: Watch
    ) -> None:
        super().__init__(config, backend, run, tracker, watch)
        self._backend = backend
        self._env_class = env_class
        self._method = METHODS[config.update.loss]
        self._generator = make_generator(env_class, config.env.options)
        self._score = Scorer(config.selection.score, self._generator, config.selection.further)
        self._held_out = held_out_scenarios(config, env_class)
        self._first = self._record.first
        self._warned: set[str] = set()

    def learn(self, n: int) -> None:
        played = self._record.plays("train", n, lambda: self._rollout(n))
        self._finished("rollout", n)
        batch = self._select(played, n)
        if not self._record.logged(n):
            self._tracker.log_dialogues(played, n)
        with self._phase("update"):
            self._row |= self._backend.update(batch, self._seed(UPDATE, n))

    def sync(self, n: int) -> None:
        self._row |= self._backend.sync(n)

    def measure(self, n: int) -> Row:
        played = self._record.plays("eval", n, lambda: self._evaluate(n))
        if n == 0 and self._config.rollout.player == "model" and (advice := unreadable(played)):
            warn(advice)
        return held_out_metrics(played, self._row)

    def _rollout(self, n: int) -> list[Trajectory]:
        """Play L trajectories in each of M new scenarios and score them."""
        rollout = self._config.rollout
        draw = np.random.default_rng([SCENARIO, self._config.seed, n])
        number = affordable(rollout, self._record.rows(n))
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
        """What the update trains on: a function of the trajectories, the configuration and the seed."""
        rng = np.random.default_rng([SELECTION, self._config.seed, n])
        with self._phase("score"):
            scored = self._score(played, rng)
        batch = self._method.batch(scored, [each for each in played if each.failed], self._config, rng)
        kept = [played[i] for i in batch.kept]
        self._record.keep(n, batch.kept)
        if not kept:
            raise RunError(
                f"iteration {n}: of {len(played)} trajectories {len(scored)} are valid, and none is left to train on. "
                f"Read {self._run.trajectories('train', n)} or the dialogues in the tracker"
            )
        self._row |= rollout_metrics(played, self._row.get("time/rollout", math.nan))
        self._row |= kept_metrics(kept, batch.kept, scored) | credit_metrics(batch)
        self._row |= particle_metrics(self._score.effective)
        self._first = self._first or dict(self._row)
        collapsed = collapse(self._first, self._row, self._config.selection)
        for kind, line in (("collapse", collapsed), ("particles", few_particles(self._row))):
            if line and kind not in self._warned:
                self._warned.add(kind)
                warn(line)
        return batch

    def _evaluate(self, n: int) -> list[Trajectory]:
        """Play the held-out scenarios after ``n`` updates, on the same draws as every other player."""
        config = self._config.eval
        requests = [
            RolloutRequest(scenario, *episode_seeds(HELD_OUT_SEED, i, episode), temperature=config.temperature)
            for i, scenario in enumerate(self._held_out)
            for episode in range(config.rollouts)
        ]
        with self._phase("evaluate", len(requests)) as on_progress:
            return [score(t) for t in self._backend.rollout(requests, n, on_progress)]
