"""The file behavior.json of an evaluation: metrics that the table has no room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rmft_verl.eval import metrics
from rmft_verl.types import Trajectory

Plays = Mapping[str, Sequence[Trajectory]]
"""Player -> its trajectories on one target."""


def behavior(targets: Mapping[str, Plays]) -> dict[str, Any]:
    """Plain JSON: the players of each target, and win rates over all targets; None where a number does not exist.

    Curves have one value per round. They exist only if the scenarios of a target share one horizon.
    """
    found: dict[str, Any] = {
        "targets": {
            target: {name: _player(one) for name, one in trajectories.items()}
            for target, trajectories in targets.items()
        }
    }
    try:
        rates = metrics.win_rates(list(targets.values()))
        found["win_rates"] = {name: rate._asdict() for name, rate in rates.items()}
    except ValueError:  # only one player, or one with fewer than two scored trajectories
        found["win_rates"] = None
    plain: dict[str, Any] = _plain(found)
    return plain


def _player(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    finished = metrics.scored(trajectories)
    bias = metrics.frequency_bias(finished)
    row: dict[str, Any] = {
        "action_entropy": metrics.action_entropy(finished),
        "frequency_bias": {name.removesuffix("_R"): values for name, values in bias._asdict().items()},
    }
    if len({trajectory.scenario.horizon for trajectory in finished}) == 1:
        row |= {name.removesuffix("_T"): values for name, values in _curves(finished).items()}
    return row


def _curves(finished: Sequence[Trajectory]) -> dict[str, Any]:
    band = metrics.regret_band(finished)
    arms = metrics.bandits(finished)
    return {
        "regret_T": band.value_T,
        "regret_low_T": band.low_T,
        "regret_high_T": band.high_T,
        "best_action_T": np.mean([metrics.best_arm_mass(one) for one in finished], axis=0),
        "coverage_T": np.mean([metrics.coverage_curve(one) for one in arms], axis=0) if arms else None,
    }


def _plain(value: Any) -> Any:
    """Convert arrays to lists and NaN to None, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    return None if isinstance(value, float) and math.isnan(value) else value
