"""Named sets of instances for evaluation: name -> Generator options."""

from __future__ import annotations

from typing import Any

TRAIN: dict[str, Any] = {
    "arms": [2, 3, 4],
    "horizon": [20],
    "law": ["bernoulli"],
    "drift": ["abrupt", "gradual", "seasonal"],
    "contexts": "basic",
}
"""A small distribution to train on (recipes/nsmab_tiny.yaml); each suite below changes one thing about it."""


def _explore(arms: list[int], changes: list[int], horizon: int) -> dict[str, Any]:
    """Abrupt drift under little noise: whoever averages over all rounds is sure of arms that have changed since."""
    rewards = {"law": ["gaussian"], "noise": 0.05, "min_gap": 0.2}
    return rewards | {"arms": arms, "horizon": [horizon], "drift": ["abrupt"], "changes": changes, "contexts": "basic"}


SUITES: dict[str, dict[str, Any]] = {
    "train": TRAIN,
    "abrupt": TRAIN | {"drift": ["abrupt"]},
    "gradual": TRAIN | {"drift": ["gradual"]},
    "seasonal": TRAIN | {"drift": ["seasonal"]},
    "stationary": TRAIN | {"drift": ["stationary"]},
    "heldout_domain": TRAIN | {"contexts": "basic_heldout"},
    "longer": TRAIN | {"horizon": [60], "changes": [3, 6, 9]},
    "wider": TRAIN | {"arms": [4, 6, 8]},
    "unseen_law": TRAIN | {"law": ["gaussian"]},
    # Discounted UCB has at most 0.7 of the regret of every stationary player (tests/unit/test_exploration.py).
    "explore": _explore([2, 3, 4], [1, 2, 3], 200),
    "explore_small": _explore([2], [1], 60),
}
"""Each kind of drift alone, a control without drift, suites that a player trained on ``TRAIN`` has not seen, and two in
which forgetting pays."""
