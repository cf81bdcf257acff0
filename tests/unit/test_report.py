from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bandit import ToyBandit, toy_scenario, toy_trajectory

from rmft_verl.eval import report
from rmft_verl.eval.algorithms import REFERENCES, evaluate_players
from rmft_verl.eval.figures import mean_curve
from rmft_verl.eval.report import write_report
from rmft_verl.train.run import change_in_words
from rmft_verl.types import StopReason, Trajectory

PNG = b"\x89PNG\r\n\x1a\n"
ROWS: list[dict[str, Any]] = [
    {"iteration": 0, "heldout/normalized_regret": 0.8, "heldout/suffix_failure": 0.4},
    {
        "iteration": 1,
        "heldout/normalized_regret": 0.7,
        "heldout/normalized_regret_low": 0.6,
        "heldout/normalized_regret_high": 0.75,
        "kept/normalized_regret": 0.5,
    },
]


def sets(horizons: tuple[int, ...] = (6,)) -> dict[str, list[Trajectory]]:
    rng = np.random.default_rng(0)
    scenarios = [toy_scenario([round(float(m), 3) for m in rng.random(3)], horizon) for horizon in horizons * 5]
    played = evaluate_players(ToyBandit, (*REFERENCES["pseudo"], "oracle"), scenarios, episodes=1, seed=0)
    return {"base": played["uniform"], "trained": played["ucb1"], **played}


def test_the_mean_curve_is_cumulative_and_over_scenarios() -> None:
    plays = [
        toy_trajectory([0.0, 1.0], [0, 0, 1]),  # 1, 2, 2
        toy_trajectory([0.0, 1.0], [1, 1, 1]),  # 0, 0, 0: the same scenario, mean 0.5, 1, 1
        toy_trajectory([0.0, 1.0], [1, 0, 0], context="shop"),  # 0, 1, 2
    ]
    mean_T, low_T, high_T = mean_curve(plays, horizon=3)
    assert mean_T == pytest.approx([0.25, 1.0, 1.5])
    assert low_T == pytest.approx([0.0, 1.0, 1.0]) and high_T == pytest.approx([0.5, 1.0, 2.0])
    assert mean_curve(plays, horizon=2)[0] == pytest.approx([0.25, 1.0])


def test_episodes_that_ended_early_go_on_as_uniform_play() -> None:
    mean_T, _, _ = mean_curve([toy_trajectory([0.0, 1.0], [1], horizon=3, stop=StopReason.LENGTH)], horizon=3)
    assert mean_T == pytest.approx([0.0, 0.5, 1.0])


def test_a_report_is_four_files(tmp_path: Path) -> None:
    table = write_report(tmp_path / "report", sets(), ROWS)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "learning.png",
        "regret_curves.png",
        "table.json",
        "table.txt",
    ]
    assert (tmp_path / "report" / "table.txt").read_text(encoding="utf-8") == table.text()
    assert json.loads((tmp_path / "report" / "table.json").read_text(encoding="utf-8")) == table.to_json()
    assert [row.player for row in table.rows] == ["base", "trained", *REFERENCES["pseudo"], "oracle"]
    for name in ("learning.png", "regret_curves.png"):
        assert (tmp_path / "report" / name).read_bytes().startswith(PNG)


def test_no_metrics_no_learning_curve_and_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    write_report(tmp_path, {"base": sets()["uniform"]}, [])
    write_report(tmp_path, {"base": sets()["oracle"]}, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["regret_curves.png", "table.json", "table.txt"]
    assert json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))[0]["normalized_regret"] == 0.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("horizons", [(1,), (4, 7)])
def test_odd_horizons_are_drawn_without_a_warning(tmp_path: Path, horizons: tuple[int, ...]) -> None:
    write_report(tmp_path, sets(horizons), [{"iteration": 0, "heldout/normalized_regret": 1.0}])
    assert (tmp_path / "regret_curves.png").read_bytes().startswith(PNG)


def test_the_learning_figure_shows_what_else_could_be_the_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"heldout/suffix_failure": 0.3, "heldout/suffix_failure_low": 0.2, "heldout/suffix_failure_high": 0.4}
    row |= {"rollout/normalized_regret": 0.75, "heldout/invalid_rate": 0.1, "rollout/invalid_rate": 0.2}
    drawn: list[Any] = []
    monkeypatch.setattr(report, "save", lambda figure, path: drawn.append(figure))
    write_report(tmp_path, sets(), [ROWS[0], ROWS[1] | row])
    regret, failures, invalid = drawn[0].axes
    assert [panel.get_ylabel() for panel in drawn[0].axes] == list(report.PANELS.values())
    heights = {line.get_label(): list(line.get_ydata()) for line in regret.get_lines()}
    assert heights["all rollouts"] == [0.75] and heights["held-out"] == [0.8, 0.7] and heights["kept of them"] == [0.5]
    assert {"uniform", "ucb1"} <= set(heights) and not {"base", "trained", "oracle"} & set(heights)
    (band,) = [part for part in failures.collections if len(part.get_paths()) and len(part.get_paths()[0].vertices)]
    assert band.get_paths()[0].get_extents().ymin == 0.2 and band.get_paths()[0].get_extents().ymax == 0.4
    assert [list(line.get_ydata()) for line in invalid.get_lines()][:2] == [[0.1], [0.2]]


def test_one_scenario_is_drawn_without_a_band(tmp_path: Path) -> None:
    one = [toy_trajectory([0.0, 1.0], [0, 1])]
    write_report(tmp_path, {"base": one, "trained": one}, [ROWS[0] | {"iteration": 1}])
    assert (tmp_path / "learning.png").read_bytes().startswith(PNG)


def test_the_last_line_says_the_change_whatever_the_scale() -> None:
    def plays(actions: list[int]) -> list[Trajectory]:
        return [toy_trajectory([0.0, 1.0], actions, context=str(i)) for i in range(4)]

    assert change_in_words(plays([0, 0]), plays([0, 1])) == (
        "-50.0% [-50.0%, -50.0%] (95 % bootstrap over 4 held-out scenarios)"
    )
    assert change_in_words(plays([0])[:1], plays([1])[:1]).startswith("-100.0% (1 held-out scenarios, too few")
    assert change_in_words(plays([1, 1]), plays([0, 1])).startswith("+1.000 [+1.000, +1.000]")  # no regret before
    assert "undefined" in change_in_words([toy_trajectory([1.0, 1.0], [0])], [toy_trajectory([1.0, 1.0], [0])])


def test_the_drawing_library_is_loaded_only_to_draw() -> None:
    heavy = ("matplotlib", "rich", "scipy", "torch")
    code = f"import sys, rmft_verl.eval.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
