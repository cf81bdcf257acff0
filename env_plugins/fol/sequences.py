"""Reward sequences of full-information games: one pure function each, (rng, T, K, dials) -> rewards of shape (T, A).

Rewards lie in [0, 1] and are rounded to 2 decimals, as they are told, so that words and numbers carry the same
information. Nothing here depends on dialogues, so batched simulators may stack the results.

The kinds of sequence are those of Park et al. 2024 (Do LLM agents have regret?), their sections on full information;
the constants are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

AMPLITUDE = 0.4
"""Amplitude of a sine trend around one half."""
LEAD, LEAST_LEAD = 0.25, 0.1
"""Largest and smallest distance of a camp of ``alternating`` from its average."""
MOST_SWITCHES = 3


@dataclass(frozen=True)
class Dials:
    """Settings of a sequence that a recipe may change, in reward units."""

    noise: float = 0.1
    """Standard deviation of the noise before it is truncated; ``uniform`` and ``uniform_gap`` have their own."""
    gap: float = 0.2
    """How far the best mean is above all others, where there is one best action at a time."""


def uniform(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Independent uniform rewards of mean 0.5: no action is better than another. Shape (T, A)."""
    return rounded(rng.random((horizon, n_actions)))


def uniform_gap(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Uniform on [gap, 1] for one best action, on [0, 1 - gap] for the others: means ``gap`` apart. Shape (T, A)."""
    best_A = np.arange(n_actions) == rng.integers(n_actions)
    return rounded((1 - dials.gap) * rng.random((horizon, n_actions)) + dials.gap * best_A)


def gaussian(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Independent Gaussian rewards around 0.5, truncated to [0, 1]: no action is better. Shape (T, A)."""
    return noisy(rng, np.full((horizon, n_actions), 0.5), dials.noise)


def gaussian_gap(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Truncated Gaussian around 0.5 + gap / 2 for one best action, 0.5 - gap / 2 for the others. Shape (T, A)."""
    best_A = np.arange(n_actions) == rng.integers(n_actions)
    return noisy(rng, np.tile(_split(best_A, dials.gap), (horizon, 1)), dials.noise)


def linear(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Each action's mean moves on a straight line between two uniform end points; noise around it. Shape (T, A)."""
    start_A, end_A = rng.random((2, n_actions))
    return noisy(rng, np.linspace(start_A, end_A, horizon), dials.noise)


def sine(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Each action's mean is 0.5 + 0.4 sin, with its own phase and period of T / 4 to T; noise. Shape (T, A)."""
    phase_A = rng.random(n_actions)
    period_A = horizon * rng.uniform(0.25, 1.0, n_actions)
    waves_T_A = np.sin(2 * np.pi * (np.arange(horizon)[:, None] / period_A + phase_A))
    return noisy(rng, 0.5 + AMPLITUDE * waves_T_A, dials.noise)


def alternating(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Two camps of actions alternate: the camp that leads after a round pays little in the next. Shape (T, A).

    After t rounds an action has paid t / 2 plus a lead that changes its sign every round; its size is 0.25 minus noise,
    at least 0.1. So noise never adds up: every action earns T / 2 within 0.25, and a player that follows a leader loses
    at least 0.2 per round from the second round on. Without noise the rewards are then 0 and 1.
    """
    camp_A = np.where(rng.permutation(n_actions) < n_actions // 2, 1, -1)
    less_T_A = np.abs(dials.noise * rng.standard_normal((horizon, n_actions)))
    size_T_A = rounded(np.maximum(LEAD - less_T_A, LEAST_LEAD))
    sign_T = np.where(np.arange(horizon) % 2 == 0, 1, -1)
    lead_T_A = sign_T[:, None] * camp_A * size_T_A
    return rounded(0.5 + np.diff(lead_T_A, axis=0, prepend=0.0))


def switch(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """As ``gaussian_gap``, but the best action changes one to three times, at random rounds. Shape (T, A)."""
    n_switches = min(1 + int(rng.integers(MOST_SWITCHES)), horizon - 1)
    at = np.sort(1 + rng.permutation(horizon - 1)[:n_switches])
    steps = np.concatenate([rng.integers(n_actions, size=1), rng.integers(1, n_actions, size=n_switches)])
    best_T = (np.cumsum(steps) % n_actions)[np.searchsorted(at, np.arange(horizon), side="right")]
    return noisy(rng, _split(best_T[:, None] == np.arange(n_actions), dials.gap), dials.noise)


def tempting(rng: np.random.Generator, horizon: int, n_actions: int, dials: Dials) -> np.ndarray:
    """Independent uniform rewards on [0.5, 1], which ``adaptive.Adversary`` pays to spared actions. Shape (T, A)."""
    return rounded(rng.uniform(0.5, 1.0, (horizon, n_actions)))


def rounded(rewards: np.ndarray) -> np.ndarray:
    """``rewards`` rounded to 2 decimals, as they are told, never -0; same shape."""
    return np.asarray(np.round(rewards, 2) + 0.0)


def noisy(rng: np.random.Generator, means: np.ndarray, noise: float) -> np.ndarray:
    """Gaussian rewards around ``means``, drawn again until they lie in [0, 1], rounded; same shape.

    Truncation pulls means that are within about two ``noise`` of 0 or 1 towards the middle.
    """
    means = np.clip(means, 0.0, 1.0)  # a line may overshoot its end point by the last bit
    rewards = means + noise * rng.standard_normal(means.shape)
    while np.any(outside := (rewards < 0) | (rewards > 1)):
        rewards[outside] = means[outside] + noise * rng.standard_normal(int(outside.sum()))
    return rounded(rewards)


def _split(best: np.ndarray, gap: float) -> np.ndarray:
    return np.asarray(np.where(best, 0.5 + gap / 2, 0.5 - gap / 2))


Sequence = Callable[[np.random.Generator, int, int, Dials], np.ndarray]

SEQUENCES: dict[str, Sequence] = {
    "uniform": uniform,
    "uniform_gap": uniform_gap,
    "gaussian": gaussian,
    "gaussian_gap": gaussian_gap,
    "linear": linear,
    "sine": sine,
    "alternating": alternating,
    "switch": switch,
}
"""Oblivious sequences: fixed before the first round, whatever is played. Name -> function."""
