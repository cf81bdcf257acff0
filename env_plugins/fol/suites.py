"""Named sets of instances for evaluation: name -> Generator options."""

from __future__ import annotations

from typing import Any

from env_plugins.fol.games import NAMES

TRAIN: dict[str, Any] = {
    "actions": [2, 3],
    "horizon": [10],
    "sequence": ["uniform_gap", "gaussian_gap", "linear", "sine", "switch"],
    "contexts": "basic",
    "names": "train",
}
"""A small mixture to train on (recipes/fol_tiny.yaml); each generalization suite changes one thing about it."""

SUITES: dict[str, dict[str, Any]] = {
    "train": TRAIN,
    **{name: TRAIN | {"sequence": [name]} for name in NAMES},
    "gap_sequences": TRAIN | {"sequence": ["uniform_gap", "gaussian_gap"]},
    "heldout_domain": TRAIN | {"contexts": "basic_heldout"},
    "heldout_names": TRAIN | {"names": "heldout"},
    "longer": TRAIN | {"horizon": [30]},
    "wider": TRAIN | {"actions": [4, 6]},
    "one_option": TRAIN | {"choice": "option"},
    "unseen_law": TRAIN | {"sequence": ["alternating", "adversary", "matrix_game"]},
}
"""One suite per sequence, one of sequences with a gap, one whose replies name a single option, and suites that a player
trained on ``TRAIN`` has not seen."""
