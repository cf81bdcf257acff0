"""The measures of tests/experiments/published_grid.py, on games small enough to count by hand."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def grid() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "experiments"))
        yield importlib.import_module("published_grid")


def played(grid: ModuleType, curves: Any, arms: Any = ((0,),), best: Any = ((0,),)) -> Any:
    curves = np.array(curves, dtype=float)
    return grid.Played(curves, -curves[:, -1], np.array(arms), np.array(best))


def test_the_fit_finds_the_linear_part(grid: ModuleType) -> None:
    t = np.arange(1, 301)
    idle = played(grid, np.tile(0.5 * t, (20, 1)))
    for beta in (0.0, 0.1):
        curve = 3 * np.log(t) + beta * t + 1
        found, low, high = grid.linear_share(played(grid, np.tile(curve, (20, 1))), idle, 0)
        assert found == pytest.approx(beta / 0.5, abs=0.01) and low <= found + 1e-9 and high >= found - 1e-9
    assert grid.linear_share(idle, idle, 0)[0] == pytest.approx(1.0, abs=0.01)


def test_fractions_are_counted_after_each_step(grid: ModuleType) -> None:
    two = played(grid, [[0] * 4] * 2, arms=[[0, 1, 1, 1], [0, 0, 1, 0]], best=[[1] * 4, [0] * 4])
    assert grid.fractions(two, 2, 2) == (0.5, 0.75)  # the least played arm: 1 and 0 of 2 rounds
    assert grid.fractions(two, 2, 4) == (0.5, 0.75)
    assert grid.fractions(two, 4, 4)[0] == 0.0  # two arms were never played


def test_a_win_needs_a_certain_difference(grid: ModuleType) -> None:
    rng = np.random.default_rng(0)
    sets = {
        name: grid.Played(np.zeros((50, 1)), mean + rng.standard_normal(50), np.zeros((50, 1)), np.zeros((50, 1)))
        for name, mean in (("good", 5.0), ("same", 5.0), ("poor", 0.0))
    }
    assert grid.wins({"setting": sets}) == {"good": 0.5, "same": 0.5, "poor": 0.0}


def test_both_kinds_of_games_are_played_and_told(
    grid: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(grid, "MAB", ("evolve_bernoulli_easy_k5",))
    monkeypatch.setattr(grid, "CB", ("evolve_size_k10",))
    grid.main(["--games", "3", "--out", str(tmp_path)])
    page = (tmp_path / "published_grid.md").read_text()
    stored = (ROOT / "docs" / "results" / "published_grid.md").read_text()
    assert "| evolve_bernoulli_easy_k5 | 1.00 [1.00, 1.00] |" in page and "their_linucb" in page
    assert [line for line in page.splitlines() if "|---" in line] == [x for x in stored.splitlines() if "|---" in x]
    assert "| as published | 0.823 / 0.327 |" in page and "| as published | 0.823 / 0.327 |" in stored


def test_their_linear_rule_is_ours_on_columns_of_any_length(grid: ModuleType) -> None:
    """Shrinking contexts by c is a ridge of c^2: with one user both rules see the same numbers."""
    from env_plugins.cb import ContextualBanditEnv
    from rmft_verl.env.play import play_now
    from rmft_verl.players import make_player

    suite = ContextualBanditEnv.SUITES["evolve_size_k10"] | {"horizon": [40]}
    scenario = ContextualBanditEnv.Generator(**suite).draw(np.random.default_rng(0))
    seeds = {"reward_seed": 1, "policy_seed": 2}
    ours = play_now(ContextualBanditEnv, make_player("linucb", np.random.default_rng(3)), scenario, **seeds)
    for users, same in ((1, True), (400, False)):
        theirs = grid.TheirLinUCB(np.random.default_rng(3), users)
        assert (play_now(ContextualBanditEnv, theirs, scenario, **seeds).actions_T == ours.actions_T) is same
