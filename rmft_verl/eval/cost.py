"""Estimate the cost of an evaluation through an endpoint, before the first request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rmft_verl.env import Env
from rmft_verl.env.play import play_now
from rmft_verl.env.tokens import estimate_tokens
from rmft_verl.players import make_player
from rmft_verl.types import RolloutRequest

SHORTEST_REPLY = 10
"""Tokens of a reply that contains only its action."""

PROBED = 32
"""Number of episodes that a uniform player plays to measure prompt lengths."""


@dataclass(frozen=True)
class Cost:
    """Requests and tokens; ``low`` assumes the shortest replies, ``high`` every reply at its cap."""

    episodes: int
    requests: int
    prompt_low: int
    prompt_high: int
    reply_low: int
    reply_high: int

    def text(self, price_in: float | None, price_out: float | None) -> str:
        """One line, with dollars if both prices (dollars per million tokens) are known."""
        line = (
            f"{self.episodes:,} episodes, {self.requests:,} requests, about {_span(self.prompt_low, self.prompt_high)} "
            f"prompt tokens and {_span(self.reply_low, self.reply_high)} reply tokens"
        )
        if price_in is None or price_out is None:
            return line
        low = (self.prompt_low * price_in + self.reply_low * price_out) / 1e6
        high = (self.prompt_high * price_in + self.reply_high * price_out) / 1e6
        return f"{line}: ${low:,.2f} to ${high:,.2f}"


def estimate(env_class: type[Env], requests: Sequence[RolloutRequest], max_tokens: int) -> Cost:
    """The cost of playing every request in a growing dialogue, at three characters a token.

    The prompt of a round contains all earlier messages, so the total grows with the square of the horizon. At most
    ``PROBED`` requests are played; the result is scaled up.
    """
    probed = [requests[i] for i in np.unique(np.linspace(0, len(requests) - 1, PROBED).astype(int))] if requests else []
    turns = told = replied = 0
    for request in probed:
        seeds = {"reward_seed": request.reward_seed, "policy_seed": request.policy_seed}
        player = make_player("uniform", np.random.default_rng(request.policy_seed))
        played = play_now(env_class, player, request.scenario, **seeds).turns
        new_T = [estimate_tokens(turn.messages, index == 0) for index, turn in enumerate(played)]
        turns += len(played)
        told += int(np.cumsum(new_T).sum())
        replied += len(played) * (len(played) - 1) // 2  # earlier replies that later prompts repeat
    scale = len(requests) / max(len(probed), 1)
    shortest = min(SHORTEST_REPLY, max_tokens)
    prompt_low, prompt_high = (round(scale * (told + replied * reply)) for reply in (shortest, max_tokens))
    n_turns = round(scale * turns)
    return Cost(len(requests), n_turns, prompt_low, prompt_high, n_turns * shortest, n_turns * max_tokens)


def _span(low: int, high: int) -> str:
    return f"{_tokens(low)} to {_tokens(high)}"


def _tokens(n: int) -> str:
    return f"{n:,}" if n < 100_000 else f"{n / 1e6:,.1f} million"
