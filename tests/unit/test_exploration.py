"""Exploration pays in the suites that say so: the explorer has at most 0.7 of the regret of who does not explore."""

from __future__ import annotations

import pytest
from exploration_pays import SUITES, share

MOST = 0.7
SCENARIOS = {"explore": 300, "explore_small": 1000}  # short games leave more to the luck of greedy play


@pytest.mark.parametrize(("env", "suite"), [key for key in SUITES if key[1].startswith("explore")])
def test_exploration_pays(env: str, suite: str) -> None:
    _, rival, ratio = share(env, suite, SCENARIOS[suite])
    assert rival in SUITES[env, suite][1]
    assert ratio.high <= MOST, f"{env}:{suite} against {rival}: {ratio}"


def test_it_does_not_pay_where_the_tiny_model_was_trained_so_far() -> None:
    _, _, ratio = share("mab", "train", 300)
    assert ratio.low > MOST
