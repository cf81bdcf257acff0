from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from rmft_verl.eval.table import EvalTable, summarize
from rmft_verl.types import Oracle, StopReason, Trajectory

GOOD = toy_trajectory([0.0, 1.0], [0, 1])
FAILED = Trajectory(GOOD.scenario, "p", (), Oracle(np.full((2, 2), np.nan), "none"), StopReason.ERROR, 0, 0, error="x")


def cells(table: EvalTable, name: str) -> list[str]:
    return next(line for line in table.text().splitlines() if f" {name} " in line).split()


def test_a_row_says_what_the_trajectories_say() -> None:
    plays = [
        toy_trajectory([0.0, 1.0], [0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]),
        toy_trajectory([0.0, 0.5], [0, 0, 0, 0], context="shop", parsed=False),
    ]
    (row,) = summarize({"model": plays}).rows
    assert (row.player, row.n_scenarios, row.n_episodes, row.n_failed) == ("model", 2, 2, 0)
    assert row.regret == 2.0  # 2 and 2
    assert row.normalized_regret.value == pytest.approx(4 / 3)  # uniform: 2 and 1
    assert row.median_reward == pytest.approx(0.25)  # (2 - 0) / 4 and 0
    assert row.suffix_failure == 0.5
    assert row.min_fraction == 0.5  # 1 and 0
    assert row.greedy_fraction == 1.0  # arm 1 is new in round 3 and best in round 4
    assert row.coverage == 0.75  # 1 and 0.5
    assert row.best_arm == 0.25  # 2 of 4 and 0 of 4
    assert row.invalid_rate == 0.5


def test_json_rows_are_flat_and_survive_json() -> None:
    one_scenario = summarize({"model": [GOOD]}).to_json()
    assert one_scenario == [
        {
            "player": "model",
            "regret": 1.0,
            "normalized_regret": 1.0,
            "normalized_regret_low": None,
            "normalized_regret_high": None,
            "median_reward": 0.0,
            "suffix_failure": 0.0,
            "min_fraction": 1.0,
            "greedy_fraction": 1.0,
            "coverage": 1.0,
            "best_arm": 0.5,
            "growth_slope": None,
            "sublinear": None,
            "invalid_rate": 0.0,
            "n_scenarios": 1,
            "n_episodes": 1,
            "n_failed": 0,
        }
    ]
    assert json.loads(json.dumps(one_scenario, allow_nan=False)) == one_scenario


def test_the_text_has_a_line_for_each_player() -> None:
    plays = [toy_trajectory([0.0, 1.0], [0, 1, 1, 1], context=str(i)) for i in range(3)]
    table = summarize({"base": plays, "trained": plays * 2})
    numbers = ["1.00", "0.500", "[0.500,", "0.500]", "0.00", "0.00", "0.50", "1.00", "1.00", "0.75", "–", "0.0%"]
    assert cells(table, "base") == ["base", *numbers, "3×1"]
    assert cells(table, "trained")[-1] == "3×2"
    assert all(len(line) <= 120 for line in table.text().splitlines())


def test_intervals_from_few_scenarios_are_said_to_be_too_narrow() -> None:
    def text(count: int) -> str:
        plays = [toy_trajectory([0.0, 1.0], [0, 1], context=str(i)) for i in range(count)]
        return summarize({"p": plays, "broken": [FAILED]}).text()

    assert "intervals rest on 49 scenarios, fewer than 50: they are too narrow" in text(49)
    assert "too narrow" not in text(50) and "too narrow" not in text(1)  # one scenario has no interval


def test_growth_has_a_slope_from_ten_rounds_of_one_horizon_on() -> None:
    def growth(*horizons: int, arm: int = 0) -> tuple[float, bool | None]:
        plays = [toy_trajectory([0.0, 1.0], [arm] * t, context=str(i)) for i, t in enumerate(horizons)]
        (row,) = summarize({"p": plays}).rows
        return row.growth_slope, row.sublinear

    assert growth(10, 10) == (pytest.approx(1.0), False)
    assert growth(10, arm=1) == (pytest.approx(0.0), True)  # no regret at all
    assert np.isnan(growth(9)[0]) and growth(9)[1] is None
    assert np.isnan(growth(10, 12)[0])


def test_a_set_in_which_everything_failed_has_a_row_without_numbers() -> None:
    table = summarize({"fine": [GOOD], "broken": [FAILED, FAILED]}, target="toy")
    assert cells(table, "broken") == ["toy", "broken", *["–"] * 10, "2", "failed"]
    row = table.to_json()[1]
    assert (row["target"], row["player"], row["n_episodes"], row["n_failed"]) == ("toy", "broken", 2, 2)
    assert row["regret"] is None and row["normalized_regret_low"] is None


def test_where_all_actions_are_equally_good_there_is_no_scale() -> None:
    table = summarize({"p": [toy_trajectory([0.5, 0.5], [0, 1])]})
    assert cells(table, "p")[:4] == ["p", "0.00", "–", "–"]


def test_csv_holds_the_json_rows() -> None:
    table = summarize({"a": [GOOD], "b": [FAILED]}, target="x")
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert list(rows[0]) == list(table.to_json()[0])
    assert [(row["target"], row["player"], row["regret"], row["n_failed"]) for row in rows] == [
        ("x", "a", "1.0", "0"),
        ("x", "b", "", "1"),
    ]


def test_in_jupyter_a_table_is_text_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    table = summarize({"model": [GOOD]})
    expected, shown = table.text(), []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *what: shown.append(what))
    assert table.text() == expected and "model" in expected
    assert not shown
