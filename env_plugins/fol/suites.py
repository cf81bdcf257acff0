"""Named sets of instances for evaluation: name -> Generator options."""

from __future__ import annotations

from typing import Any

from env_plugins.fol.games import NAMES

TRAIN: dict[str, Any] = {
    "actions": [2, 3, 4],
    "horizon": [25],
    "sequence": ["uniform_gap", "gaussian_gap", "linear", "sine", "switch"],
    "contexts": "basic",
    "names": "train",
}
"""A small mixture to train on; the generalization suites change one thing about it each."""

SUITES: dict[str, dict[str, Any]] = {
    **{name: TRAIN | {"sequence": [name]} for name in NAMES},
    "gap_sequences": TRAIN | {"sequence": ["uniform_gap", "gaussian_gap"]},
    "heldout_domain": TRAIN | {"contexts": "basic_heldout"},
    "heldout_names": TRAIN | {"names": "heldout"},
    "longer": TRAIN | {"horizon": [75]},
    "wider": TRAIN | {"actions": [6, 8, 10]},
}
"""One suite per sequence, those with one best action, and what a player trained on ``TRAIN`` has not seen."""
