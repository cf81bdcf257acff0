"""Play batches of games, each game several times, and hold the trajectories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rmft_verl.labs.numeric.games import Games, regret_curves
from rmft_verl.labs.numeric.models import bandit_rows, full_history
from rmft_verl.types import Action, Oracle, StopReason, Trajectory, Turn


@dataclass(frozen=True)
class Plays:
    """A batch of trajectories (axis P); those of one game are adjacent."""

    games: Games
    """The game of each trajectory."""
    history_P_T_F: Tensor
    """What the model read."""
    policies_P_T_A: Tensor
    """The policies played; in bandits, the arms were drawn from them."""
    actions_P_T: Tensor | None
    """The arms pulled; None with full information, where the policy is the action."""

    @property
    def earned_P_T(self) -> Tensor:
        """Expected reward of each round."""
        if self.actions_P_T is None:
            return (self.policies_P_T_A * self.games.expected_B_T_A).sum(-1)
        return self.games.expected_B_T_A.gather(2, self.actions_P_T[..., None]).squeeze(-1)

    @property
    def regret_P_T(self) -> Tensor:
        """Cumulative regret after each round."""
        return regret_curves(self.games.kind, self.earned_P_T, self.games.expected_B_T_A)

    def take(self, index: list[int]) -> Plays:
        """Some of the trajectories, in the order of ``index``."""
        actions = None if self.actions_P_T is None else self.actions_P_T[index]
        return Plays(self.games.take(index), self.history_P_T_F[index], self.policies_P_T_A[index], actions)


@torch.no_grad()
def play(model: nn.Module, games: Games, rollouts: int, spread: float, rng: torch.Generator) -> Plays:
    """Play each game ``rollouts`` times with the perturbed model.

    Each trajectory adds one Gaussian vector of standard deviation ``spread`` to the logits of all its rounds: a habit
    that regret can rank. Noise that changes every round teaches next to nothing (docs/theory.md). With full information
    one forward pass covers all rounds, because the history does not depend on what is played.
    """
    many = games.take([i for i in range(len(games.scenarios)) for _ in range(rollouts)])
    n_plays, horizon, n_actions = many.rewards_B_T_A.shape
    bias_P_1_A = spread * torch.randn(n_plays, 1, n_actions, generator=rng).to(many.rewards_B_T_A)
    if games.full_information:
        logits = model(full_history(games.rewards_B_T_A)).repeat_interleave(rollouts, dim=0)
        return Plays(many, full_history(many.rewards_B_T_A), torch.softmax(logits + bias_P_1_A, -1), None)
    history = many.rewards_B_T_A.new_zeros(n_plays, horizon + 1, 2 * n_actions)
    policies, actions = torch.zeros_like(many.rewards_B_T_A), torch.zeros(n_plays, horizon, dtype=torch.long)
    actions = actions.to(history.device)
    for t in range(horizon):
        policies[:, t] = torch.softmax(model(history[:, : t + 1])[:, -1] + bias_P_1_A[:, 0], -1)
        actions[:, t] = torch.multinomial(policies[:, t].cpu(), 1, generator=rng)[:, 0].to(history.device)
        paid = many.rewards_B_T_A[:, t].gather(1, actions[:, t, None])[:, 0]
        history[:, t + 1] = bandit_rows(actions[:, t], paid, n_actions)
    return Plays(many, history[:, :horizon], policies, actions)


def random_history(games: Games, rng: torch.Generator) -> Tensor:
    """Bandit histories of random arms, one per game, shape (B, T, F).

    The arm probabilities of each game are uniform on the simplex: some histories contain all arms, some only one.
    """
    n_games, horizon, n_actions = games.rewards_B_T_A.shape
    shares_B_A = -torch.rand(n_games, n_actions, generator=rng).clamp(min=1e-9).log()
    actions_B_T = torch.multinomial(shares_B_A, horizon, replacement=True, generator=rng)
    actions_B_T = actions_B_T.to(games.rewards_B_T_A.device)
    paid_B_T = games.rewards_B_T_A.gather(2, actions_B_T[..., None])[..., 0]
    rows = [bandit_rows(actions_B_T[:, t], paid_B_T[:, t], n_actions) for t in range(horizon - 1)]
    return torch.stack([torch.zeros_like(rows[0]), *rows], dim=1)


def best_of(regret_S_L: Tensor, keep: int) -> Tensor:
    """Positions in the flattened (S, L) of the ``keep`` lowest values of each row, shape (S * keep,)."""
    lowest_S_k = regret_S_L.argsort(dim=1, stable=True)[:, :keep]
    first_S_1 = torch.arange(len(regret_S_L), device=regret_S_L.device)[:, None] * regret_S_L.shape[1]
    return (first_S_1 + lowest_S_k).flatten()


def trajectories(plays: Plays, player: str, version: int = -1) -> list[Trajectory]:
    """Scored ``Trajectory`` objects without a dialogue, for the rest of the package."""
    games, regrets = plays.games, plays.regret_P_T[:, -1].tolist()
    policies = plays.policies_P_T_A.double().cpu().numpy()
    policies = policies / policies.sum(-1, keepdims=True)
    rewards, expected = (side.double().cpu().numpy() for side in (games.rewards_B_T_A, games.expected_B_T_A))
    arms = None if plays.actions_P_T is None else plays.actions_P_T.tolist()
    found = []
    for i, scenario in enumerate(games.scenarios):
        actions: list[Action] = [tuple(row) for row in policies[i].tolist()] if arms is None else arms[i]
        paid_T = _paid(rewards[i], policies[i] if arms is None else np.eye(rewards.shape[2])[arms[i]])
        turns = tuple(Turn((), "", a, r, parsed=True) for a, r in zip(actions, paid_T, strict=True))
        oracle = Oracle(np.round(expected[i], 6), games.kind)  # float32 back to the original decimals
        found.append(
            Trajectory(
                scenario=scenario,
                player=player,
                turns=turns,
                oracle=oracle,
                stop_reason=StopReason.COMPLETED,
                reward_seed=games.reward_seeds[i],
                policy_seed=0,
                policy_version=version,
                regret=regrets[i],
            )
        )
    return found


def _paid(rewards_T_A: np.ndarray, played_T_A: np.ndarray) -> list[float]:
    return [float(paid) for paid in (rewards_T_A * played_T_A).sum(axis=1)]
