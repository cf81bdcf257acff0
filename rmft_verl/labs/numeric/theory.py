"""Experiment on the FTRL theorem: single-layer attention on Gaussian losses, decisions in the unit ball.

Each round the player picks p in the ball and pays <p, l>; regret is sum <p_t, l_t> + |sum l_t|, against the best fixed
point -S / |S|. FTRL with the squared norm plays the projection of -rate x (sum of the past losses). docs/theory.md says
which rate training should find, and why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rmft_verl.algo.selection import count
from rmft_verl.config import NUMERIC, Config
from rmft_verl.eval.metrics import Interval, bootstrap
from rmft_verl.labs.numeric import updates
from rmft_verl.labs.numeric.ball import BallGames, make_games
from rmft_verl.labs.numeric.decision_sets import project_ball
from rmft_verl.labs.numeric.figures import draw_decisions, draw_paths
from rmft_verl.labs.numeric.models import SelfAttention
from rmft_verl.labs.numeric.players import past_sums
from rmft_verl.labs.numeric.plays import best_of
from rmft_verl.store.record import logged_rows
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.store.tracking import Tracker
from rmft_verl.train.loop import Loop, Row
from rmft_verl.types import RunError

FRESH, FIGURE = 1_000_003, 7
"""Seeds of the sequences for the measurement and for the figure."""

NAMES = {"regret": "regret-loss", "sft": "RMFT"}
"""Loss -> its name in the figures."""


def history(losses_B_T_D: Tensor) -> Tensor:
    """What a model reads, shape (B, T, D): the loss of the round before."""
    return nn.functional.pad(losses_B_T_D[:, :-1], (0, 0, 1, 0))


def ball_regret(decisions_B_T_D: Tensor, losses_B_T_D: Tensor) -> Tensor:
    """Regret after the last round against the best fixed point of the unit ball, shape (B,)."""
    return (decisions_B_T_D * losses_B_T_D).sum((1, 2)) + losses_B_T_D.sum(1).norm(dim=-1)


def squared_regret(model: nn.Module, losses_B_T_D: Tensor) -> updates.Loss:
    """Regret-loss with N = 1 and h(x) = x^2, on the decisions before projection."""

    def loss(rows: Tensor) -> Tensor:
        losses = losses_B_T_D[rows]
        return (ball_regret(model(history(losses)), losses) ** 2).mean()

    return loss


# ---- RMFT -----------------------------------------------------------------------------------------------------------

Perturb = Callable[[nn.Module, Tensor, int, float, torch.Generator], Tensor]
"""(model, losses, L, spread, rng) -> unprojected decisions of L perturbed trajectories per sequence, (S, L, T, D)."""


def by_play(model: nn.Module, losses: Tensor, rollouts: int, spread: float, rng: torch.Generator) -> Tensor:
    """Add one Gaussian vector per trajectory to all its decisions."""
    n, _, dimension = losses.shape
    return model(history(losses))[:, None] + spread * torch.randn(n, rollouts, 1, dimension, generator=rng)


def by_round(model: nn.Module, losses: Tensor, rollouts: int, spread: float, rng: torch.Generator) -> Tensor:
    """Add a new Gaussian vector in every round."""
    n, horizon, dimension = losses.shape
    return model(history(losses))[:, None] + spread * torch.randn(n, rollouts, horizon, dimension, generator=rng)


def by_weights(model: nn.Module, losses: Tensor, rollouts: int, spread: float, rng: torch.Generator) -> Tensor:
    """Add a Gaussian matrix per trajectory times the past sums, as another V would. It is scaled to move decisions by
    about ``spread`` in the last round."""
    n, horizon, dimension = losses.shape
    change = torch.randn(n, rollouts, dimension, dimension, generator=rng) / math.sqrt(dimension * horizon)
    return model(history(losses))[:, None] + spread * torch.einsum("slij,stj->slti", change, past_sums(losses))


PERTURBATIONS: dict[str, Perturb] = {"play": by_play, "round": by_round, "weights": by_weights}


@torch.no_grad()
def kept_mean(
    model: nn.Module,
    losses: Tensor,
    *,
    rollouts: int,
    keep: int,
    spread: float,
    rng: torch.Generator,
    perturb: Perturb = by_play,
) -> Tensor:
    """Mean of the ``keep`` lowest-regret of ``rollouts`` perturbed trajectories per sequence, shape (S, T, D).

    Decisions are projected, as when they are played.
    """
    n, horizon, dimension = losses.shape
    played = project_ball(perturb(model, losses, rollouts, spread, rng)).reshape(n * rollouts, horizon, dimension)
    regret_S_L = ball_regret(played, losses.repeat_interleave(rollouts, dim=0)).view(n, rollouts)
    return played[best_of(regret_S_L, keep)].view(n, keep, horizon, dimension).mean(1)


def imitation(model: nn.Module, losses: Tensor, target: Tensor) -> updates.Loss:
    """Squared error against the mean of the kept trajectories, all that imitation needs of them."""

    def loss(rows: Tensor) -> Tensor:
        return (model(history(losses[rows])) - target[rows]).square().sum(-1).mean()

    return loss


# ---- measurement ----------------------------------------------------------------------------------------------------


KEYS = ("heldout/ftrl_rate", "heldout/ftrl_error", "heldout/ftrl_own_error", "heldout/ftrl_cosine")
"""Names of the values of ``against_ftrl``, in order."""


@torch.no_grad()
def moments(model: nn.Module, games: BallGames, n: int) -> np.ndarray:
    """Inner products of the model's decisions with those of FTRL on ``n`` fresh sequences, shape (n, 8)."""
    losses = games.draw(n, torch.Generator().manual_seed(FRESH))
    raw, past = model(history(losses)), past_sums(losses)
    rate = -float((raw * past).sum() / (past * past).sum())
    ftrl, own, played = (project_ball(x) for x in (-games.rate * past, -rate * past, raw))
    off, off_own = played - ftrl, played - own
    pairs = [(raw, past), (past, past), (off, off), (ftrl, ftrl), (off_own, off_own), (own, own)]
    pairs += [(played, ftrl), (played, played)]
    return np.asarray(torch.stack([(x * y).sum((1, 2)) for x, y in pairs], dim=1).double().numpy())


def against_ftrl(means: np.ndarray, theorems_rate: float) -> np.ndarray:
    """How close the decisions are to FTRL's: (rate, error, own_error, cosine), from the means of ``moments``, (..., 8).

    rate: weight of the past sums in the decisions before projection, in units of the theorem's. error: root mean square
    distance of the projected decisions from FTRL's at the theorem's rate, over the root mean square of FTRL's.
    own_error: the same at the model's own rate. cosine: between projected decisions and FTRL's.
    """
    raw_past, past_past, off, ftrl, off_own, own, played_ftrl, played = np.moveaxis(means, -1, 0)
    tiny = 1e-30  # an untrained model may decide 0
    return np.stack(
        [
            -raw_past / past_past / theorems_rate,
            np.sqrt(off / ftrl),
            np.sqrt(off_own / (own + tiny)),
            played_ftrl / np.sqrt(played * ftrl + tiny),
        ],
        axis=-1,
    )


def measure(model: nn.Module, games: BallGames, n: int = 1000) -> dict[str, float]:
    """``against_ftrl`` by name, as it is logged."""
    values = against_ftrl(moments(model, games, n).mean(axis=0), games.rate)
    return dict(zip(KEYS, values.tolist(), strict=True))


def measure_with_intervals(model: nn.Module, games: BallGames, n: int = 2000) -> dict[str, Interval]:
    """``measure`` with bootstrap intervals over sequences."""
    values_S = moments(model, games, n)
    low, high = bootstrap(values_S, lambda means: against_ftrl(means, games.rate), seed=0)
    values = against_ftrl(values_S.mean(axis=0), games.rate)
    return {key: Interval(*map(float, row)) for key, *row in zip(KEYS, values, low, high, strict=True)}


# ---- the run --------------------------------------------------------------------------------------------------------


class TheoryModel:
    """Single-layer attention with its optimizer and the generator of its games."""

    def __init__(self, config: Config, games: BallGames) -> None:
        torch.manual_seed(config.seed)
        self.net = make_attention(config, games)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.update.lr)
        self.rng = torch.Generator().manual_seed(config.seed)

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        state = {"model": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "rng": self.rng.get_state()}
        torch.save(state, directory / "state.pt")

    save_state = save

    def load_state(self, directory: Path) -> None:
        state = torch.load(directory / "state.pt", weights_only=True)
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])


class TheoryTrainer(Loop):
    """A run of ``theory_ftrl``, on the CPU: regret-loss, or RMFT with noise ``by_play`` (``update.loss=sft``)."""

    def __init__(self, config: Config, run: RunDir, tracker: Tracker) -> None:
        self._games = make_games(config)
        self._learner = TheoryModel(config, self._games)
        self.model, self._rng = self._learner.net, self._learner.rng
        super().__init__(config, self._learner, run, tracker)

    def learn(self, n: int) -> None:
        config, update = self._config, self._config.update
        for group in self._learner.optimizer.param_groups:  # decay to 0, so the noise of the last steps averages out
            group["lr"] = update.lr * (1 - (n - 1) / config.iterations)
        self._row |= updates.fit(
            self.model,
            self._learner.optimizer,
            self._lesson(),
            config.rollout.scenarios,
            epochs=update.epochs,
            batch=update.batch,
            max_grad_norm=update.max_grad_norm,
            rng=self._rng,
        )

    def measure(self, n: int) -> Row:
        return measure(self.model, self._games)

    def _lesson(self) -> updates.Loss:
        rollout = self._config.rollout
        losses = self._games.draw(rollout.scenarios, self._rng)
        if self._config.update.loss == "regret":
            return squared_regret(self.model, losses)
        keep = count(self._config.selection.keep, rollout.rollouts)
        target = kept_mean(
            self.model, losses, rollouts=rollout.rollouts, keep=keep, spread=rollout.perturbation, rng=self._rng
        )
        return imitation(self.model, losses, target)


def make_attention(config: Config, games: BallGames) -> SelfAttention:
    """A fresh model for the games, initialized from torch's generator."""
    return SelfAttention(games.dimension, games.dimension, config.model.path.removeprefix(NUMERIC))


def report(config: Config, run: RunDir) -> str:
    """Write table.txt, table.json and the figures of a finished run from its files; returns the table."""
    if not (run.checkpoints / "final").is_dir():
        raise RunError(f"{run.path} has no final model yet: let the run finish (resume={run.path})")
    metrics_rows, games = logged_rows(run), make_games(config)
    model = make_attention(config, games)
    model.load_state_dict(torch.load(run.checkpoints / "final" / "state.pt", weights_only=True)["model"])
    found = {key.partition("ftrl_")[2]: value for key, value in measure_with_intervals(model, games).items()}
    text = "".join(
        f"{name:10} {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]\n" for name, value in found.items()
    )
    text += "against FTRL with the squared norm on 2,000 fresh sequences; 95 % bootstrap over sequences\n"
    name, losses = NAMES[config.update.loss], games.draw(1, torch.Generator().manual_seed(FIGURE))
    with torch.no_grad():
        decisions = {
            "FTRL, the theorem's rate": project_ball(-games.rate * past_sums(losses))[0].numpy(),
            f"attention, {name}": project_ball(model(history(losses)))[0].numpy(),
        }
    draw_decisions(decisions, run.report / "decisions.png")
    rows: list[Any] = [row for row in metrics_rows if row.get("heldout/ftrl_rate") is not None]
    draw_paths({name: rows}, run.report / "path.png")
    write_text(run.report / "table.txt", text)
    write_text(run.report / "table.json", json.dumps({name: list(value) for name, value in found.items()}) + "\n")
    return text
