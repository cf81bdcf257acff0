"""EXP3: exponential weights on estimated rewards, for bandits whose rewards an adversary may choose."""

from __future__ import annotations

import math
from bisect import bisect
from itertools import accumulate

import numpy as np

from rmft_verl.players.arms import UNIT_LAWS, pulled
from rmft_verl.types import GameSpec, Observation, Reply


def exploration(n_rounds: int, n_actions: int) -> float:
    """gamma = min(1, sqrt(K log K / ((e - 1) n))): the rate for a known number of rounds n."""
    return min(1.0, math.sqrt(n_actions * math.log(n_actions) / ((math.e - 1) * n_rounds)))


class EXP3:
    """Pulls arm a with chance p_a = (1 - gamma) w_a / sum w + gamma / K, then multiplies w_a by exp(gamma r / (p_a K)).

    Auer, Cesa-Bianchi, Freund and Schapire 2002 (section 3), with gamma as in their corollary 3.2 for the T of the
    game: the expected external regret is at most 2 sqrt((e - 1) T K log K). ``ValueError`` for reward laws that leave
    [0, 1], because the weights would be unbounded.
    """

    name = "exp3"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._log_weights_A: list[float] = []
        self._shares_A: list[float] = []

    def run_length(self, spec: GameSpec) -> int:
        """Rounds between two restarts: the whole game."""
        return spec.horizon

    async def act(self, observation: Observation) -> Reply:
        spec = observation.spec
        if spec.reward_law not in UNIT_LAWS:
            raise ValueError(
                f"{self.name} needs rewards within 0 and 1 (reward_law {' or '.join(UNIT_LAWS)}), "
                f"not {spec.reward_law!r}: use ucb1, sw_ucb or thompson"
            )
        last, n_rounds = pulled(observation), self.run_length(spec)
        gamma = exploration(n_rounds, spec.n_actions)
        if last is None or observation.turn % n_rounds == 0:
            self._log_weights_A = [0.0] * spec.n_actions
        else:
            arm, reward = last
            self._log_weights_A[arm] += gamma * reward / (self._shares_A[arm] * spec.n_actions)
        self._shares_A = self._mix(gamma)
        # The shares may add up to a little less than 1.
        arm = bisect(list(accumulate(self._shares_A)), self._rng.random())
        return Reply(action=min(arm, spec.n_actions - 1))

    def _mix(self, gamma: float) -> list[float]:
        largest, n_actions = max(self._log_weights_A), len(self._log_weights_A)
        weights_A = [math.exp(value - largest) for value in self._log_weights_A]
        scale = (1 - gamma) / sum(weights_A)
        return [scale * weight + gamma / n_actions for weight in weights_A]
