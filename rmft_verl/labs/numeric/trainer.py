"""The loop of ``rmft_verl.train.trainer`` on batches of tensors: the numerical track.

for each iteration:
    draw M games and sample L trajectories of the perturbed model in each       rollout
    compute each trajectory's regret, keep the k lowest of each game            score, select
    imitate them                                                                update
    measure the model, unperturbed, on held-out games                           evaluate

``update.loss=regret`` and ``dpt`` take their loss from the games themselves and neither perturb nor select.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rmft_verl.algo.selection import count
from rmft_verl.config import NUMERIC, WEIGHT_DECAY, Config
from rmft_verl.env.seeds import HELD_OUT_SEED, POLICY, REWARD, SCENARIO, SELECTION, UPDATE, episode_seeds, stream_seed
from rmft_verl.labs.numeric import updates
from rmft_verl.labs.numeric.games import Games, by_horizon, lay_out
from rmft_verl.labs.numeric.models import full_history, make_model
from rmft_verl.labs.numeric.plays import Plays, best_of, play, random_history, trajectories
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import Tracker
from rmft_verl.store.trajectory_file import write_kept, write_trajectories
from rmft_verl.train.iteration_metrics import held_out_metrics
from rmft_verl.train.loop import Loop, Row
from rmft_verl.types import Scenario, Trajectory

START = 6
"""Random stream of the first weights, besides those of ``rmft_verl.env.seeds``."""


class NumericModel:
    """A model with its optimizer and a copy of its first weights."""

    def __init__(self, config: Config, first: Games, device: str) -> None:
        """``first``: any of the games, for the sizes."""
        torch.manual_seed(stream_seed(START, config.seed))
        name = config.model.path.removeprefix(NUMERIC)
        self._update, self._decay = config.update, float(config.verl_override(WEIGHT_DECAY) or 0.0)
        self._device = device
        self.net = make_model(name, first.rewards_B_T_A.shape[2], first.full_information).to(device)
        self._base = copy.deepcopy(self.net.state_dict())
        self.optimizer = self._fresh_optimizer()

    def reset(self) -> None:
        """Restore the first weights, with a fresh optimizer."""
        self.net.load_state_dict(self._base)
        self.optimizer = self._fresh_optimizer()

    def save(self, directory: Path) -> None:
        """Save model and optimizer, to resume from."""
        directory.mkdir(parents=True)
        torch.save({"model": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}, directory / "state.pt")

    save_state = save

    def load_state(self, directory: Path) -> None:
        state = torch.load(directory / "state.pt", map_location=self._device, weights_only=True)
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=self._update.lr, weight_decay=self._decay)


class NumericTrainer(Loop):
    """The loop on batches of tensors: one ``Trajectory`` per episode of 25 rounds would cost too much."""

    def __init__(
        self, config: Config, generator: Any, held_out: list[Scenario], run: RunDir, tracker: Tracker, device: str
    ) -> None:
        self._generator, self._held_out, self._device = generator, held_out, device
        self._learner = NumericModel(config, lay_out(held_out[:1], [0]), device)
        self.model = self._learner.net
        super().__init__(config, self._learner, run, tracker)

    def learn(self, n: int) -> None:
        loss, n_samples = self._lesson(n)
        update = self._config.update
        if update.start == "base":
            self._learner.reset()
        with self._phase("update"):
            self._row |= updates.fit(
                self.model,
                self._learner.optimizer,
                loss,
                n_samples,
                epochs=update.epochs,
                batch=update.batch,
                max_grad_norm=update.max_grad_norm,
                rng=self._rng(UPDATE, n),
            )

    def measure(self, n: int) -> Row:
        with self._phase("evaluate"):
            played = self._record.plays("eval", n, lambda: self.evaluate(n))
        return held_out_metrics(played, self._row)

    def _lesson(self, n: int) -> tuple[updates.Loss, int]:
        """The loss of iteration ``n``, and its number of trajectories or games."""
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
            played = play(self.model, games, rollout.rollouts, rollout.perturbation, self._rng(POLICY, n))
        kept = self._select(played, n)
        return updates.imitation(self.model, kept), len(kept.games.scenarios)

    def _draw(self, n: int) -> Games:
        """The M games of iteration ``n``."""
        rng = np.random.default_rng([SCENARIO, self._config.seed, n])
        scenarios = [self._generator.draw(rng) for _ in range(self._config.rollout.scenarios)]
        return lay_out(scenarios, [self._seed(REWARD, n, i) for i in range(len(scenarios))], self._device)

    def _select(self, played: Plays, n: int) -> Plays:
        """The k lowest-regret trajectories of each game; ``selection.score=random`` is the control."""
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
        """Write the trajectories of the first or the last iteration; the seed reproduces the others."""
        path = self._run.trajectories("train", n)
        write_trajectories(path, trajectories(played, "model", n - 1), phase="train", iteration=n)
        write_kept(path, index)

    def evaluate(self, n: int) -> list[Trajectory]:
        """Trajectories of the unperturbed model, one per held-out scenario, in order."""

        def unperturbed(games: Games, rng: torch.Generator) -> Plays:
            return play(self.model, games, 1, 0.0, rng)

        return play_held_out(self._held_out, unperturbed, "model", n, self._device)

    def _rng(self, purpose: int, n: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(purpose, n))


def play_held_out(
    scenarios: list[Scenario],
    play_games: Callable[[Games, torch.Generator], Plays],
    player: str,
    version: int = -1,
    device: str = "cpu",
) -> list[Trajectory]:
    """Play each scenario once, in order, with the draws of every evaluation of it (``env.seeds.episode_seeds``)."""
    found: dict[int, Trajectory] = {}
    for horizon, places in by_horizon(scenarios).items():
        seeds = [episode_seeds(HELD_OUT_SEED, i, 0)[0] for i in places]
        games = lay_out([scenarios[i] for i in places], seeds, device)
        played = play_games(games, torch.Generator().manual_seed(horizon))
        found |= dict(zip(places, trajectories(played, player, version), strict=True))
    return [found[i] for i in range(len(scenarios))]
