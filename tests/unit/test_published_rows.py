"""A smaller version of the acceptance test in tests/experiments/published_rows.py, with tolerances of its own size."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
REPLICATES = 300


@pytest.fixture(scope="module")
def published_rows() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        yield importlib.import_module("published_rows")


@pytest.mark.parametrize("player", ["thompson", "ucb1", "greedy"])
@pytest.mark.parametrize("suite", ["hard", "easy"])
def test_the_published_rows_are_reproduced(published_rows: ModuleType, suite: str, player: str) -> None:
    row = published_rows.summary(published_rows.replicates(suite, player, REPLICATES, [0]))
    median, suffix, scaled, greedy = published_rows.PUBLISHED[suite, player]
    # Medians of 300 and of 1000 replicates have standard deviations of 0.026 and 0.022 (hard), 0.010 and 0.009 (easy),
    # and 0.063 and 0.047 for greedy on hard, measured over blocks: three standard errors of the difference.
    reach = 0.24 if (suite, player) == ("hard", "greedy") else 0.10 if suite == "hard" else 0.04
    assert row[0] == pytest.approx(median, abs=reach)
    # Three standard errors of the difference between a share of 300 and one of 1000, plus the rounding.
    error = 3 * np.sqrt(max(suffix, 0.005) * (1 - suffix) * (1 / REPLICATES + 1 / 1000)) + 0.005
    assert row[1] == pytest.approx(suffix, abs=error)
    # Standard deviations of one play below 0.14 and 0.11: three standard errors of the difference, plus the rounding.
    # Without counting new arms as greedy GreedyFrac would be low by K / T = 0.05.
    assert row[2] == pytest.approx(scaled, abs=0.035)
    assert row[3] == pytest.approx(greedy, abs=0.03)


def test_the_instances_are_the_published_ones(published_rows: ModuleType) -> None:
    for suite, means in (("hard", [0.4] * 4 + [0.6]), ("easy", [0.25] * 3 + [0.75])):
        scenario = published_rows.instance(suite)
        assert scenario.horizon == 100 and scenario.game["law"] == "bernoulli"
        assert sorted(scenario.game["means"]) == pytest.approx(means)


def test_the_verdict_is_on_all_blocks_together(published_rows: ModuleType) -> None:
    row = ("hard", "greedy")
    values = np.tile(published_rows.PUBLISHED[row], (2000, 1))
    values[:, 1] = np.arange(2000) % 100 < np.repeat([45, 51], 1000)  # blocks of 0.45 and 0.51, 0.48 together
    line = published_rows.line(row, values)
    assert "| 0.48 / 0.480 ± 0.011 (+0.000) |" in line and line.endswith("| 0 of 2 |")
    assert "| 0.48 / 0.510 ± 0.016 (+0.030) **outside** |" in published_rows.line(row, values[1000:])
    published = np.array(published_rows.PUBLISHED[row])
    assert published_rows.within(published, published + published_rows.TOLERANCES) == [True] * 4
    assert published_rows.within(published, published - np.multiply(published_rows.TOLERANCES, 1.01)) == [False] * 4


def test_a_row_is_played_until_it_is_precise(published_rows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def coin(suite: str, player: str, count: int, seed: list[int]) -> np.ndarray:
        assert seed == [7, len(blocks)]
        blocks.append(np.tile(np.arange(count)[:, None] % 2.0, (1, 4)))
        return blocks[-1]

    blocks: list[np.ndarray] = []
    monkeypatch.setattr(published_rows, "replicates", coin)
    # The standard error of a fair coin is 0.5 / sqrt(n): at most 0.008 from n = 3907 on.
    assert len(published_rows.precise(("hard", "ucb1"), 0.008, seed=7)) == 4000
