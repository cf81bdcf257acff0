from __future__ import annotations

import dataclasses

import pytest
from toy_bandit import toy_trajectory

from rmft_verl.eval import metrics
from rmft_verl.eval.metrics.comparison import cumulative_reward
from rmft_verl.types import Trajectory


def runs(*rewards: float) -> list[Trajectory]:
    """One-round plays that paid ``rewards``."""
    return [toy_trajectory([0.0, 1.0], [1], [reward]) for reward in rewards]


def test_a_win_is_a_significantly_higher_mean_and_a_tie_is_none() -> None:
    # a against b: difference 9, standard error sqrt(1/3 + 1/3) = 0.82, t = 11; a against c: t = 0.1.
    rates = metrics.win_rates([{"a": runs(10, 11, 12), "b": runs(1, 2, 3), "c": runs(10, 11, 12.5)}])
    assert rates == {"a": (0.5, 0.5, 0.0), "b": (0.0, 0.0, 1.0), "c": (0.5, 0.5, 0.0)}
    assert rates["a"].wins == 0.5


def test_configurations_are_compared_within_and_pooled() -> None:
    easy = {"a": runs(10, 11, 12), "b": runs(1, 2, 3)}
    far_off = {"a": runs(101, 102, 103), "b": runs(110, 111, 112)}
    assert metrics.win_rates([easy, far_off]) == {"a": (0.5, 0.0, 0.5), "b": (0.5, 0.0, 0.5)}


def test_unequal_variances_are_tested_by_welch() -> None:
    # Pooling the variances, t = 6.0 with 31 degrees of freedom; Welch: t = 1.6 with 2, p = 0.24.
    steady = runs(*[1.9, 2.1] * 15)
    assert metrics.win_rates([{"wild": runs(3, 5, 13), "steady": steady}])["wild"] == (0, 1, 0)


def test_without_variance_any_difference_counts() -> None:
    assert metrics.win_rates([{"a": runs(2, 2), "b": runs(1, 1)}])["a"] == (1, 0, 0)
    assert metrics.win_rates([{"a": runs(1, 1), "b": runs(1, 1)}])["a"] == (0, 1, 0)


def test_a_round_not_played_earns_what_uniform_play_would() -> None:
    assert cumulative_reward(toy_trajectory([0.0, 1.0], [1], [1.0], horizon=4)) == pytest.approx(1 + 3 * 0.5)


def test_too_little_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="a configuration has 1"):
        metrics.win_rates([{"a": runs(1, 2)}])
    failed = [dataclasses.replace(play, regret=None) for play in runs(1, 2)]
    with pytest.raises(ValueError, match="b has 1 scored"):
        metrics.win_rates([{"a": runs(1, 2), "b": [*runs(1), *failed]}])
