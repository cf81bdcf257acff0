"""Named sets of instances for evaluation: name -> Generator options."""

from __future__ import annotations

from typing import Any

TRAIN: dict[str, Any] = {
    "arms": [2, 3, 4],
    "horizon": [20],
    "kind": ["linear"],
    "features": [2, 3],
    "contexts": "basic",
}
"""A small distribution to train on; each generalization suite changes one thing about it."""


def _evolve(arms: int) -> dict[str, Any]:
    """The size of EVOLvE's contextual task: the K items rated most, five features, 200 rounds."""
    size = {"arms": [arms], "catalogue": arms, "features": [5], "horizon": [200]}
    return {"kind": ["user_item"], **size, "noise": 0.25}


SUITES: dict[str, dict[str, Any]] = {
    # Nie et al. 2025 (EVOLvE), as others report its sizes; the ratings are synthetic, and the noise is ours.
    **{f"evolve_size_k{arms}": _evolve(arms) for arms in (10, 30)},
    "train": TRAIN,
    "user_item": TRAIN | {"kind": ["user_item"]},
    "heldout_domain": TRAIN | {"contexts": "basic_heldout"},
    "heldout_names": TRAIN | {"names": "heldout"},
    "longer": TRAIN | {"horizon": [60]},
    "wider": TRAIN | {"arms": [6, 8, 10]},
    "more_features": TRAIN | {"features": [5]},
}
"""The size of a published task, and suites that a player trained on ``TRAIN`` has not seen."""
