"""Euclidean projections onto the two decision sets, over the last axis of any shape."""

from __future__ import annotations

import torch
from torch import Tensor


def project_simplex(points: Tensor) -> Tensor:
    """The nearest points of the simplex, same shape: ``players.ftrl_l2.project`` for a batch (Duchi et al. 2008)."""
    ordered = points.sort(dim=-1, descending=True).values
    counts = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype, device=points.device)
    shifts = (ordered.cumsum(-1) - 1) / counts
    last = (ordered > shifts).sum(-1, keepdim=True) - 1
    return (points - shifts.gather(-1, last)).clamp(min=0)


def project_ball(points: Tensor, radius: float = 1.0) -> Tensor:
    """The nearest points of the ball of ``radius`` around 0, same shape."""
    return points * (radius / points.norm(dim=-1, keepdim=True).clamp(min=radius))
