from __future__ import annotations

import json

import pytest
from toy_bandit import toy_trajectory

from rmft_verl.eval.behavior import behavior

GOOD = [toy_trajectory((0.0, 1.0), (0, 1, 1), (0.0, 1.0, 1.0), context=str(i)) for i in range(2)]
BAD = [toy_trajectory((0.0, 1.0), (0, 0, 0), (0.0, 0.0, 0.0), context=str(i)) for i in range(2)]


def test_curves_and_rates_by_hand() -> None:
    found = json.loads(json.dumps(behavior({"toy": {"good": GOOD, "bad": BAD}})))
    good, bad = found["targets"]["toy"]["good"], found["targets"]["toy"]["bad"]
    assert good["regret"] == [1, 1, 1] and bad["regret"] == [1, 2, 3]
    assert good["best_action"] == [0, 1, 1] and bad["coverage"] == [0.5, 0.5, 0.5]
    assert good["action_entropy"] == pytest.approx(0.918296) and bad["action_entropy"] == 0  # bits of 1/3 and 2/3
    assert found["win_rates"]["good"] == {"wins": 1, "ties": 0, "losses": 0}


def test_what_does_not_exist_is_null() -> None:
    mixed = [toy_trajectory((0.0, 1.0), (0, 1)), toy_trajectory((0.0, 1.0), (0, 1, 1))]
    found = behavior({"toy": {"alone": mixed}})
    assert found["win_rates"] is None and "regret" not in found["targets"]["toy"]["alone"]
