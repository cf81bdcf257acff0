"""Named sets of instances for evaluation: name -> Generator options."""

from __future__ import annotations

from typing import Any

TRAIN: dict[str, Any] = {
    "arms": [3, 4, 5],
    "horizon": [20],
    "law": ["bernoulli"],
    "min_gap": 0.1,
    "contexts": "basic",
    "names": "train",
}
"""A small distribution to train on (recipes/mab_tiny.yaml); each generalization suite changes one thing about it."""

_GENERALIZATION: dict[str, dict[str, Any]] = {
    "train": TRAIN,
    "heldout_domain": TRAIN | {"contexts": "basic_heldout"},
    "heldout_names": TRAIN | {"names": "heldout"},
    "longer": TRAIN | {"horizon": [60]},
    "wider": TRAIN | {"arms": [6, 8, 10]},
    "unseen_law": TRAIN | {"law": ["gaussian", "bounded", "heavy_tailed"]},
}


def _one_best(arms: int, gap: float, horizon: int) -> dict[str, Any]:
    """Bernoulli arms: the best has mean 0.5 + gap / 2, all others 0.5 - gap / 2."""
    return {"arms": [arms], "horizon": [horizon], "law": ["bernoulli"], "means": "one_best", "min_gap": gap}


def _normal(arms: int, sigma: float, horizon: int) -> dict[str, Any]:
    """Gaussian arms: means from N(0, sigma^2), rewards with standard deviation sigma."""
    law = {"arms": [arms], "horizon": [horizon], "law": ["gaussian"], "means": "normal", "min_gap": 0}
    return law | {"mean_low": -sigma, "mean_high": sigma, "noise": sigma}


def _explore(arms: list[int], gap: float, horizon: int) -> dict[str, Any]:
    """Bernoulli arms of low means, one far ahead: it often fails at first, and greedy play leaves it for good."""
    means = {"mean_low": 0.1, "mean_high": 0.7, "min_gap": gap}
    return {"arms": arms, "horizon": [horizon], "law": ["bernoulli"], "contexts": "basic"} | means


SUITES: dict[str, dict[str, Any]] = {
    # Krishnamurthy et al. 2024, section on the experimental setup.
    "hard": _one_best(5, 0.2, 100),
    "easy": _one_best(4, 0.5, 100),
    # The horizon of that paper's further checks.
    "hard_200": _one_best(5, 0.2, 200),
    # UCB1 has at most 0.7 of greedy's regret in these (tests/unit/test_exploration.py, docs/environments.md).
    "explore": _explore([3, 4, 5], 0.3, 100),
    "explore_small": _explore([2, 3], 0.4, 60),
    # Nie et al. 2025 (EVOLvE): K x (Bernoulli gap, Gaussian sigma), with the horizons of their code.
    **{f"evolve_bernoulli_easy_k{arms}": _one_best(arms, 0.5, 300) for arms in (5, 20)},
    **{f"evolve_bernoulli_hard_k{arms}": _one_best(arms, 0.2, 1000) for arms in (5, 20)},
    **{f"evolve_gaussian_easy_k{arms}": _normal(arms, 1.0, 300) for arms in (5, 20)},
    **{f"evolve_gaussian_hard_k{arms}": _normal(arms, 3.0, 1000) for arms in (5, 20)},
    **_GENERALIZATION,
}
"""The instances of two papers, suites in which exploration pays, and suites that a player trained on ``TRAIN`` has not
seen."""
