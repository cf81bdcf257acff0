"""The loop of the numerical track: that of ``rmft_verl.train.trainer``, on batches of tensors.

for each iteration:
    draw M games and play L perturbed plays of the model in each                rollout
    compute each play's regret, keep the k lowest of each game                  score, select
    imitate them                                                                update
    measure the model, unperturbed, on held-out games                           evaluate

``update.loss=regret`` and ``dpt`` take their loss from the games themselves and neither perturb nor select.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rmft_verl.algo.selection import count
from rmft_verl.config import NUMERIC, Config
from rmft_verl.env.seeds import HELD_OUT_SEED, POLICY, REWARD, SCENARIO, SELECTION, UPDATE, episode_seeds
from rmft_verl.labs.numeric import updates
from rmft_verl.labs.numeric.games import Games, by_horizon, lay_out
from rmft_verl.labs.numeric.models import full_history, make_model
from rmft_verl.labs.numeric.plays import Plays, best_of, play, random_history, trajectories
from rmft_verl.store.checkpoints import write_directory
from rmft_verl.store.record import Record
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import Tracker
from rmft_verl.store.trajectory_file import write_kept, write_trajectories
from rmft_verl.train.iteration_metrics import held_out_metrics
from rmft_verl.types import Scenario, Trajectory

START = 6
"""Stream of randomness of the first weights, beside those of ``rmft_verl.train.trainer``."""

Report = Callable[[int, dict[str, float]], None]


class NumericTrainer:
    """One run: a model, a generator of games, a loss, and a directory that receives everything."""

    def __init__(
        self, config: Config, generator: Any, held_out: list[Scenario], run: RunDir, tracker: Tracker, device: str
    ) -> None:
        self._config, self._generator, self._held_out = config, generator, held_out
        self._run, self._tracker, self._device = run, tracker, device
        self._record = Record(run, config.checkpoint)
        self._row: dict[str, float] = {}
        first = lay_out(held_out[:1], [0])
        torch.manual_seed(self._seed(START))
        model = make_model(
            config.model.path.removeprefix(NUMERIC), first.rewards_B_T_A.shape[2], first.full_information
        )
        self.model = model.to(device)
        self._base = copy.deepcopy(self.model.state_dict())
        self._optimizer = self._fresh_optimizer()

    def train(self, report: Report) -> None:
        """Run every iteration that the run has not finished."""
        start = self._record.restore(self)
        self._measure(start, report)
        for n in range(start + 1, self._config.iterations + 1):
            self._row = {}
            self._learn(n)
            self._measure(n, report)
        with self._phase("save"):
            write_directory(self._run.checkpoints / "final", self.save_state)
        self._record.finished("save", self._config.iterations, self._row)

    def _learn(self, n: int) -> None:
        """The n-th update, on games that are drawn for it."""
        loss, n_samples = self._lesson(n)
        if self._config.update.start == "base":
            self.model.load_state_dict(self._base)
            self._optimizer = self._fresh_optimizer()
        update = self._config.update
        with self._phase("update"):
            self._row |= updates.fit(
                self.model,
                self._optimizer,
                loss,
                n_samples,
                epochs=update.epochs,
                batch=update.batch,
                max_grad_norm=update.max_grad_norm,
                rng=self._rng(UPDATE, n),
            )
        if n % self._config.checkpoint.every == 0:
            with self._phase("checkpoint"):
                self._record.checkpoint(n, self)
        self._record.finished("update", n, self._row)

    def _lesson(self, n: int) -> tuple[updates.Loss, int]:
        """What iteration ``n`` minimizes, and over how many plays or games."""
        with self._phase("rollout"):
            games = self._draw(n)
            if self._config.update.loss != "sft" and n == self._config.iterations:
                played = play(self.model, games, 1, 0.0, self._rng(POLICY, n))
                self._write(played, list(range(len(games.scenarios))), n)
            if self._config.update.loss == "regret":
                return updates.regret(self.model, games), len(games.scenarios)
            if self._config.update.loss == "dpt":
                known = full_history(games.rewards_B_T_A)
                history = known if games.full_information else random_history(games, self._rng(POLICY, n))
                return updates.dpt(self.model, games, history), len(games.scenarios)
            rollout = self._config.rollout
            played = play(self.model, games, rollout.rollouts, rollout.temperature, self._rng(POLICY, n))
        kept = self._select(played, n)
        return updates.imitation(self.model, kept), len(kept.games.scenarios)

    def _draw(self, n: int) -> Games:
        """M games of iteration ``n``."""
        rng = np.random.default_rng([SCENARIO, self._config.seed, n])
        scenarios = [self._generator.draw(rng) for _ in range(self._config.rollout.scenarios)]
        return lay_out(scenarios, [self._seed(REWARD, n, i) for i in range(len(scenarios))], self._device)

    def _select(self, played: Plays, n: int) -> Plays:
        """The k plays of lowest regret of each game; ``selection.score=random`` is the control."""
        selection, rollouts = self._config.selection, self._config.rollout.rollouts
        with self._phase("score"):
            regret_S_L = played.regret_P_T[:, -1].view(-1, rollouts)
            score_S_L = regret_S_L
            if selection.score == "random":
                score_S_L = torch.rand(regret_S_L.shape, generator=self._rng(SELECTION, n)).to(regret_S_L)
            index = best_of(score_S_L, count(selection.keep, rollouts)).tolist()
        if n in (1, self._config.iterations):
            self._write(played, index, n)
        center = torch.full_like(played.policies_P_T_A, 1 / played.policies_P_T_A.shape[2])
        uniform_P = Plays(played.games, played.history_P_T_F, center, None).regret_P_T[:, -1]
        self._row |= {
            "rollout/normalized_regret": float(regret_S_L.sum() / uniform_P.sum()),
            "kept/normalized_regret": float(regret_S_L.flatten()[index].sum() / uniform_P[index].sum()),
            "rollout/score": float(score_S_L.mean()),
            "kept/score": float(score_S_L.flatten()[index].mean()),
            "kept/share": len(index) / regret_S_L.numel(),
        }
        return played.take(index)

    def _write(self, played: Plays, index: list[int], n: int) -> None:
        """The plays of the first and the last iteration; the others follow from the seed."""
        path = self._run.trajectories("train", n)
        write_trajectories(path, trajectories(played, "model", n - 1), phase="train", iteration=n)
        write_kept(path, index)

    def _measure(self, n: int, report: Report) -> None:
        """The model with ``n`` updates on the held-out games, and its row."""
        if n in (0, self._config.iterations) or n % self._config.eval.every == 0:
            with self._phase("evaluate"):
                played = self._record.plays("eval", n, lambda: self.evaluate(n))
            self._row |= held_out_metrics(played, self._row)
            self._record.finished("evaluate", n, self._row)
        if not self._record.logged(n):
            self._tracker.log(self._row, n)
            report(n, self._row)
        self._record.finished("log", n, self._row)

    def evaluate(self, n: int) -> list[Trajectory]:
        """The held-out games, once each, by the model as it is; in the order of the scenarios."""

        def unperturbed(games: Games, rng: torch.Generator) -> Plays:
            return play(self.model, games, 1, 0.0, rng)

        return play_held_out(self._held_out, unperturbed, "model", n, self._device)

    def save_state(self, directory: Path) -> None:
        """Model and optimizer, to go on from."""
        directory.mkdir(parents=True)
        torch.save(
            {"model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}, directory / "state.pt"
        )

    def load_state(self, directory: Path) -> None:
        state = torch.load(directory / "state.pt", map_location=self._device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        update = self._config.update
        return torch.optim.AdamW(self.model.parameters(), lr=update.lr, weight_decay=update.weight_decay)

    def _seed(self, purpose: int, *path: int) -> int:
        return int(np.random.SeedSequence([purpose, self._config.seed, *path]).generate_state(1)[0])

    def _rng(self, purpose: int, n: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(purpose, n))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._row[f"time/{name}"] = self._row.get(f"time/{name}", 0.0) + time.monotonic() - start


def play_held_out(
    scenarios: list[Scenario],
    play_games: Callable[[Games, torch.Generator], Plays],
    player: str,
    version: int = -1,
    device: str = "cpu",
) -> list[Trajectory]:
    """Each scenario once, in order, with the draws of every evaluation of it (``evaluate.episode_seeds``)."""
    found: dict[int, Trajectory] = {}
    for horizon, places in by_horizon(scenarios).items():
        seeds = [episode_seeds(HELD_OUT_SEED, i, 0)[0] for i in places]
        games = lay_out([scenarios[i] for i in places], seeds, device)
        played = play_games(games, torch.Generator().manual_seed(horizon))
        found |= dict(zip(places, trajectories(played, player, version), strict=True))
    return [found[i] for i in range(len(scenarios))]
