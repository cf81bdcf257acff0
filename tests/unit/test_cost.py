"""The cost model: phases by hand, what grows how, and the committed runs within the promised distance."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from rmft_verl.bridge.shapes import Shape
from rmft_verl.main import main
from rmft_verl.setup import cost
from rmft_verl.setup.cost import Machine, Work, forward, probe_seconds, rollout_seconds, sync_seconds, update_seconds

SHAPE = Shape(1_100, hidden=10, layers=2, kv_heads=1, head_dim=5, vocabulary=10, linears={"q_proj": 100}, outside=100)
PLAIN = Machine(
    "plain",
    80,
    1e6,
    1e6,
    trains=0.5,
    reads=0.25,
    streams=0.5,
    sends=0.1,
    meets=2.0,
    request=0.01,
    token=0.001,
    step=0.1,
)
WORK = Work(dialogues=16, replies=4, prompt=100, observed=60, reply=10, shared=4, trained=8, steps=2, again=0.0)


def changed(**fields: Any) -> Work:
    return dataclasses.replace(WORK, **fields)


def test_tokens_by_hand() -> None:
    assert WORK.length == 200
    assert WORK.sampled == 640
    assert WORK.computed == 16 * (100 + 100 / 4)  # the four dialogues of a scenario read its prompt once


def test_phases_by_hand() -> None:
    assert forward(SHAPE, 10, 3, 50) == 10 * (2 * 1000 + 4 * 2 * 10 * 50) + 2 * 3 * 100
    reads = forward(SHAPE, 2000, 640, 100) / 0.25e6
    moves = 640 / 8 * (2 * 1100 + 8 * 4 * 2 * 5 * 100) / 0.5e6  # 80 steps of 8 dialogues
    assert rollout_seconds(WORK, SHAPE, PLAIN, 1, 1, 8) == pytest.approx(reads + moves + 8 + 0.64 + 0.64)
    trains, probed = 3 * forward(SHAPE, 1600, 320, 100) / 0.5e6, forward(SHAPE, 8 * 200, 8 * 40, 100) / 0.5e6
    assert update_seconds(WORK, SHAPE, PLAIN, 1, 0, False) == pytest.approx(trains + 2 * 28 * 1100 / 0.5e6 + probed)
    asked = probed + forward(SHAPE, 8 * 200, 8 * 200, 100) / 0.25e6
    assert sync_seconds(WORK, SHAPE, PLAIN) == pytest.approx(2 + 12 * 1100 / 1e5 + asked)


def test_what_it_depends_on() -> None:
    update = update_seconds(WORK, SHAPE, PLAIN, 1, 0, False)
    probed = probe_seconds(WORK, SHAPE, PLAIN)
    assert update_seconds(WORK, SHAPE, PLAIN, 2, 0, False) - probed == pytest.approx((update - probed) / 2)
    assert update_seconds(WORK, SHAPE, PLAIN, 1, 0, True) > update  # activations computed again
    assert update_seconds(WORK, SHAPE, PLAIN, 1, 50, False) < update  # adapters
    assert update_seconds(changed(again=0.5), SHAPE, PLAIN, 1, 0, False) > update  # old log-probabilities
    one, two = (rollout_seconds(WORK, SHAPE, PLAIN, engines, 1, 8) for engines in (1, 2))
    assert two == pytest.approx(one / 2)


def test_every_machine_is_faster_with_more() -> None:
    for card in cost.CARDS:
        faster = dataclasses.replace(card, flops=2 * card.flops, bandwidth=2 * card.bandwidth)
        assert rollout_seconds(WORK, SHAPE, faster, 1, 1, 8) < rollout_seconds(WORK, SHAPE, card, 1, 1, 8)


def test_the_committed_runs_are_within_a_quarter() -> None:
    """Medians over the runs of two result directories, on the machine that they were made on."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from cost import BANDWIDTH, GFLOPS, PHASES, RESULTS, RUNS, compared  # type: ignore[attr-defined]

    machine = cost.cpu(GFLOPS * 1e9, BANDWIDTH * 1e9)
    for name in RUNS:
        runs = list(compared(RESULTS / name / "runs.zip", machine))
        for phase in PHASES:
            assert 0.75 < median(run[phase][0] / run[phase][1] for run in runs) < 1.25


@pytest.mark.parametrize(("gib", "names"), [(24, "L4 | RTX 4090"), (80, "A100 | H100"), (141, "H200")])
def test_a_plan_says_what_an_iteration_takes(gib: int, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["recipe=mab_qwen3", "dry_run=true", "hardware.device=cuda", f"hardware.gpu_gib={gib}"]
    main([*told, "hardware.offload=true", "hardware.gpu_memory=0.4"])
    text = capsys.readouterr().out
    assert f"on {names}:" in text
    for phase in ("rollout: ", "update: ", "sync: ", "GPU hours for 10 iterations"):
        assert phase in text


def test_a_structured_reply_is_short_only_where_nothing_is_thought(capsys: pytest.CaptureFixture[str]) -> None:
    def updated(*told: str) -> int:
        main(["recipe=mab_qwen3", "dry_run=true", "hardware.device=cuda", "hardware.gpu_gib=80", *told])
        found = re.search(r"update: ([\d,]+) tokens", capsys.readouterr().out)
        return int(found[1].replace(",", "")) if found else 0

    alone = "env.options.answer=action_only"
    assert updated() == updated("rollout.structured=true") > 2 * updated("rollout.structured=true", alone)
