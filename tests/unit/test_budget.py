"""Equal budgets of sampled tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_machine import Machine, start

from rmft_verl.config import RolloutConfig
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.train.budget import affordable


def row(tokens: float, plays: int) -> dict[str, float]:
    return {"rollout/tokens": tokens, "rollout/plays": plays}


@pytest.mark.parametrize(
    ("rows", "scenarios"),
    [
        ([], 16),
        ([{}], 16),  # nothing but the base
        ([{}, row(800, 32)], 12),  # 1,200 of 2,000 are left, 25 a play, 4 plays a scenario
        ([{}, row(800, 32), row(1200, 40)], 8),  # 1,000 left, 30 a play
        ([{}, row(800, 32), row(2600, 40)], 1),  # nothing left
    ],
)
def test_scenarios_that_a_budget_affords(rows: list[dict[str, float]], scenarios: int) -> None:
    rollout = RolloutConfig(scenarios=16, rollouts=4, tokens=1000)
    assert affordable(rollout, rows) == scenarios
    assert affordable(RolloutConfig(scenarios=16, rollouts=4), rows) == 16


def test_a_run_keeps_its_budget(machine: Machine, tmp_path: Path) -> None:
    run = start(tmp_path, "iterations=6", "rollout.tokens=100")
    rows = read_metrics(run / "metrics.jsonl")[1:]
    sampled = [row["rollout/tokens"] or 0 for row in rows]
    played = [len(read_trajectories(run / "trajectories" / f"train_{n:03}.parquet")) for n in range(1, 7)]
    assert played == [row["rollout/plays"] for row in rows] and played[0] == 6 and len(set(played)) > 1
    assert sum(sampled) == pytest.approx(600, abs=sampled[-1] / played[-1] * 3)  # half a scenario's, and the guess
