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
}
"""Each kind of drift alone, a control without drift, and suites that a player trained on ``TRAIN`` has not seen."""
