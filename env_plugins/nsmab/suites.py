"""Named sets of instances for evaluation: name -> Generator options."""

from __future__ import annotations

from typing import Any

TRAIN: dict[str, Any] = {
    "arms": [3, 4],
    "horizon": [30],
    "law": ["bernoulli"],
    "min_gap": 0.2,
    "contexts": "basic",
    "drift": ["abrupt", "gradual", "seasonal"],
    "changes": [1, 2],
    "step": 0.1,
    "period": [20],
}
"""A small law to train on; the suites below change one thing about it each."""

SUITES: dict[str, dict[str, Any]] = {
    "abrupt": TRAIN | {"drift": ["abrupt"]},
    "gradual": TRAIN | {"drift": ["gradual"]},
    "seasonal": TRAIN | {"drift": ["seasonal"]},
    "stationary": TRAIN | {"drift": ["stationary"]},
    "heldout_domain": TRAIN | {"contexts": "basic_heldout"},
    "longer": TRAIN | {"horizon": [90], "changes": [3, 6]},
    "wider": TRAIN | {"arms": [6, 8]},
}
"""One kind of drift at a time, the control without any, and what a player trained on ``TRAIN`` has not seen."""
