"""Models that read a history of numbers and write one vector per round: a causal Transformer, single-layer attention.

A history has shape (B, T, F): row t is what round t - 1 revealed, so row 0 is zero. The output, shape (B, T, A), holds
the decision of every round, each computed from the rows up to its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, LAYERS, HEADS = 32, 2, 4
"""Sizes of the Transformer: 26,000 parameters."""

CENTER = 0.5
"""Subtracted from rewards: the middle of their range."""


class CausalTransformer(nn.Module):
    """A pre-norm decoder without positional embeddings; each token carries the square root of its round.

    Attention alone averages, and an average does not tell how many rounds were seen. sqrt(t) does, and extends to
    horizons beyond training. The last layer starts at zero, so an untrained model plays uniformly.
    """

    def __init__(self, n_features: int, n_actions: int) -> None:
        super().__init__()
        self.embed = nn.Linear(n_features + 1, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.read_out = nn.Linear(WIDTH, n_actions)
        nn.init.zeros_(self.read_out.weight)
        nn.init.zeros_(self.read_out.bias)

    def forward(self, history_B_T_F: Tensor) -> Tensor:
        n_games, horizon, _ = history_B_T_F.shape
        root_T = torch.arange(horizon, dtype=history_B_T_F.dtype, device=history_B_T_F.device).sqrt() / 5
        tokens = torch.cat([history_B_T_F, root_T[None, :, None].expand(n_games, horizon, 1)], dim=-1)
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.read_out(self.norm(x))


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        n_games, horizon, width = x.shape
        heads = self.qkv(self.norm_attention(x)).view(n_games, horizon, 3, HEADS, width // HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n_games, horizon, width))
        return x + self.mlp(self.norm_mlp(x))


class SelfAttention(nn.Module):
    """One layer of self-attention with one constant query: sum over s of (V x_s + v) a_s, with a_s = (K x_s + k) . q.

    ``linear`` sums over the rows seen so far; ``softmax`` averages them with weights proportional to exp(a_s). The
    single-layer theorem of Park et al. 2025 has this form (docs/theory.md): K'q = 0 and v = 0 give FTRL's running sum.
    """

    def __init__(self, n_features: int, n_actions: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.values = nn.Linear(n_features, n_actions)
        self.keys = nn.Linear(n_features, n_features)
        self.query = nn.Parameter(torch.randn(n_features))
        with torch.no_grad():
            self.keys.bias.copy_(self.query / self.query.square().sum())  # k . q = 1: near 0 neither factor would learn
            self.keys.weight.mul_(0.1)
            self.values.weight.mul_(0.1)
            self.values.bias.zero_()  # a large v traps training: it drives k . q to 0 (docs/log.md)

    def forward(self, history_B_T_F: Tensor) -> Tensor:
        values_B_T_A, score_B_T = self.values(history_B_T_F), self.keys(history_B_T_F) @ self.query
        weight_B_T = score_B_T if self.kind == "linear" else score_B_T.clamp(max=30).exp()
        weight_B_T = torch.cat([torch.zeros_like(weight_B_T[:, :1]), weight_B_T[:, 1:]], dim=1)  # row 0 holds nothing
        sums_B_T_A = (weight_B_T[..., None] * values_B_T_A).cumsum(1)
        if self.kind == "linear":
            return sums_B_T_A
        return sums_B_T_A / weight_B_T.cumsum(1).clamp(min=1e-9)[..., None]


def make_model(name: str, n_actions: int, full_information: bool) -> nn.Module:
    """A fresh model, initialized from torch's generator: ``transformer``, ``softmax`` or ``linear``."""
    n_features = n_actions if full_information else 2 * n_actions
    if name == "transformer":
        return CausalTransformer(n_features, n_actions)
    return SelfAttention(n_features, n_actions, name)


def full_history(rewards_B_T_A: Tensor) -> Tensor:
    """The histories of full-information games, shape (B, T, A): the rewards of the round before, centered."""
    return nn.functional.pad(rewards_B_T_A[:, :-1] - CENTER, (0, 0, 1, 0))


def bandit_rows(actions_B: Tensor, rewards_B: Tensor, n_actions: int) -> Tensor:
    """The rows that bandit rounds add to histories, shape (B, 2 A): the action's indicator, and its centered reward."""
    chosen_B_A = nn.functional.one_hot(actions_B, n_actions).to(rewards_B.dtype)
    return torch.cat([chosen_B_A, chosen_B_A * (rewards_B - CENTER)[:, None]], dim=-1)
