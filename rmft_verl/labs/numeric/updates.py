"""The losses of an update: imitation of kept trajectories, regret itself, or cross-entropy of the best action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rmft_verl.labs.numeric.games import Games, regret_curves
from rmft_verl.labs.numeric.models import full_history
from rmft_verl.labs.numeric.plays import Plays

SHARPNESS = 1.0
"""Sharpness of the soft maximum in ``soft_worst_case``, per reward unit."""

Loss = Callable[[Tensor], Tensor]
"""Rows of a batch -> the mean loss on them."""


def imitation(model: nn.Module, kept: Plays) -> Loss:
    """RMFT (``update.loss=sft``): cross-entropy of what was played, per round, like a next-token loss."""

    def loss(rows: Tensor) -> Tensor:
        log_policies = torch.log_softmax(model(kept.history_P_T_F[rows]), dim=-1)
        if kept.actions_P_T is None:
            return -(kept.policies_P_T_A[rows] * log_policies).sum(-1).mean()
        return -log_policies.gather(2, kept.actions_P_T[rows][..., None]).mean()

    return loss


def dpt(model: nn.Module, games: Games, history_B_T_F: Tensor) -> Loss:
    """Decision-pretrained Transformer (``update.loss=dpt``): cross-entropy of the best action, per round.

    The best action is best in hindsight with full information, best in its round in bandits. Source: Lee et al. 2023
    (Supervised pretraining can learn in-context RL).
    """
    expected = games.expected_B_T_A
    if games.full_information:
        expected = expected.sum(1, keepdim=True).expand_as(expected)
    best_B_T = expected.argmax(-1)

    def loss(rows: Tensor) -> Tensor:
        log_policies = torch.log_softmax(model(history_B_T_F[rows]), dim=-1)
        return -log_policies.gather(2, best_B_T[rows][..., None]).mean()

    return loss


def regret(model: nn.Module, games: Games) -> Loss:
    """Regret-loss (``update.loss=regret``) of full-information games, back-propagated through the policies."""

    def loss(rows: Tensor) -> Tensor:
        rewards = games.rewards_B_T_A[rows]
        policies = torch.softmax(model(full_history(rewards)), dim=-1)
        return soft_worst_case(regret_curves("external", (policies * rewards).sum(-1), rewards)[:, -1])

    return loss


def soft_worst_case(regret_N: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """sum_j w_j max(Reg_j, 0)^2 with w the softmax of sharpness x Reg over the N games: near the largest square.

    It follows Park, Liu, Ozdaglar and Zhang 2025 (Do LLM agents have regret?), section on regret-loss, as accounts of
    it say: h(x) = max(x, 0)^2 and f(x, k) = exp(k x). With sharpness 0 it is the mean of the squares.
    """
    return (torch.softmax(sharpness * regret_N, dim=0) * regret_N.clamp(min=0) ** 2).sum()


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    n_samples: int,
    *,
    epochs: int,
    batch: int,
    max_grad_norm: float,
    rng: torch.Generator,
) -> dict[str, float]:
    """Minimize ``loss_of`` over ``n_samples`` rows; returns the metrics ``update/`` of docs/metrics.md."""
    losses, norms = [], []
    device = next(model.parameters()).device
    for _ in range(epochs):
        for rows in torch.randperm(n_samples, generator=rng).split(batch):
            value: Any = loss_of(rows.to(device))
            optimizer.zero_grad()
            value.backward()
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)))
            optimizer.step()
            losses.append(float(value.detach()))
    return {
        "update/loss": sum(losses) / len(losses),
        "update/loss_first": losses[0],
        "update/loss_last": losses[-1],
        "update/grad_norm": sum(norms) / len(norms),
        "update/steps": float(len(losses)),
        "update/samples": float(n_samples),
    }
