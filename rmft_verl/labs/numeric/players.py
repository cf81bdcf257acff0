"""The reference algorithms of ``rmft_verl.players`` on batches of games, with the same rates and noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rmft_verl.labs.numeric.decision_sets import project_simplex
from rmft_verl.labs.numeric.games import Games
from rmft_verl.labs.numeric.plays import Plays
from rmft_verl.players import exp3, ftpl, ftrl_l2, hedge


def past_sums(rewards_B_T_A: Tensor) -> Tensor:
    """Reward sums before each round, shape (B, T, A)."""
    return rewards_B_T_A.cumsum(1) - rewards_B_T_A


def uniform_policies(rewards_B_T_A: Tensor, rng: torch.Generator) -> Tensor:
    """The center of the simplex in every round."""
    return torch.full_like(rewards_B_T_A, 1 / rewards_B_T_A.shape[2])


def ftl_policies(rewards_B_T_A: Tensor, rng: torch.Generator) -> Tensor:
    """All weight on the leader; tied leaders share it evenly."""
    sums = past_sums(rewards_B_T_A)
    leads = (sums >= sums.amax(-1, keepdim=True) - 1e-5).to(sums.dtype)  # float32: sums of 0.01s are off by 1e-6
    return leads / leads.sum(-1, keepdim=True)


def hedge_policies(rewards_B_T_A: Tensor, rng: torch.Generator) -> Tensor:
    """FTRL with the negative entropy: softmax of rate x sums."""
    _, horizon, n_actions = rewards_B_T_A.shape
    return torch.softmax(hedge.rate(horizon, n_actions) * past_sums(rewards_B_T_A), dim=-1)


def ftrl_l2_policies(rewards_B_T_A: Tensor, rng: torch.Generator) -> Tensor:
    """FTRL with the squared Euclidean norm: the projection of rate x sums."""
    _, horizon, n_actions = rewards_B_T_A.shape
    return project_simplex(ftrl_l2.rate(horizon, n_actions) * past_sums(rewards_B_T_A))


def ftpl_policies(rewards_B_T_A: Tensor, rng: torch.Generator) -> Tensor:
    """The share of ``ftpl.DRAWS`` noise draws in which each action has the highest sum plus noise."""
    n_games, horizon, n_actions = rewards_B_T_A.shape
    sums, scale = past_sums(rewards_B_T_A), ftpl.noise(horizon)
    shares = torch.zeros_like(sums)
    for t in range(horizon):
        noise = torch.randn(n_games, ftpl.DRAWS, n_actions, generator=rng).to(sums)
        leaders = (sums[:, t, None] + scale * noise).argmax(-1)
        shares[:, t] = torch.nn.functional.one_hot(leaders, n_actions).to(sums.dtype).mean(1)
    return shares


POLICIES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "uniform": uniform_policies,
    "ftl": ftl_policies,
    "hedge": hedge_policies,
    "ftrl_l2": ftrl_l2_policies,
    "ftpl": ftpl_policies,
}
"""Full information: name -> function from rewards to policies, shape (B, T, A) both."""


def play_exp3(games: Games, rng: torch.Generator) -> Plays:
    """Play each bandit once with EXP3; rewards must lie in [0, 1]."""
    n_games, horizon, n_actions = games.rewards_B_T_A.shape
    gamma, rewards = exp3.exploration(horizon, n_actions), games.rewards_B_T_A.cpu()
    log_weights_B_A, policies = torch.zeros(n_games, n_actions), torch.zeros_like(rewards)
    actions = torch.zeros(n_games, horizon, dtype=torch.long)
    for t in range(horizon):
        policies[:, t] = (1 - gamma) * torch.softmax(log_weights_B_A, -1) + gamma / n_actions
        arm_B_1 = torch.multinomial(policies[:, t], 1, generator=rng)
        estimate_B_1 = rewards[:, t].gather(1, arm_B_1) / policies[:, t].gather(1, arm_B_1)
        log_weights_B_A.scatter_add_(1, arm_B_1, gamma / n_actions * estimate_B_1)
        actions[:, t] = arm_B_1[:, 0]
    device = games.rewards_B_T_A.device
    return Plays(games, torch.zeros_like(games.rewards_B_T_A), policies.to(device), actions.to(device))
