"""The arithmetic of the bench, on numbers written out here."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import bench
import numpy as np
import pytest
import yardsticks
from bench import compare, shares_of_an_iteration, spread
from iteration import PHASES, Iteration, _iterate
from yardsticks import Work, _padded, _passes, replies

from rmft_verl.env import load_env
from rmft_verl.env.play import play_now
from rmft_verl.players import make_player
from rmft_verl.setup.prepare import Prepared
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Batch, RolloutRequest, Tokens, Trajectory


def dialogue(ids: list[int], mask: list[int]) -> Tokens:
    return Tokens(np.array(ids, dtype=np.int32), np.array(mask, dtype=np.int8), mask.index(1))


def test_replies_are_the_runs_of_sampled_tokens():
    assert replies(np.array([0, 0, 1, 1, 0, 1, 0, 0, 1], dtype=np.int8)) == [(2, 4), (5, 6), (8, 9)]
    assert replies(np.array([0, 0], dtype=np.int8)) == []


def test_a_pass_holds_what_fits_when_padded():
    rows = [dialogue(list(range(n)), [0] * (n - 1) + [1]) for n in (4, 2, 3, 9, 2)]
    assert [[len(row.ids_N) for row in part] for part in _passes(rows, 12)] == [[4, 2, 3], [9], [2]]


def test_only_sampled_tokens_are_learned_and_padding_is_not_seen():
    ids, attention, labels = _padded([dialogue([5, 6, 7], [0, 1, 1]), dialogue([8, 9], [0, 1])])
    assert ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert attention.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert labels.tolist() == [[-100, 6, 7], [-100, 9, -100]]


def test_ratios_compare_an_iteration_with_its_own_yardstick():
    seconds = {"rollout": 8.0, "score": 0.5, "select": 0.0, "log": 0.5, "update": 10.0, "sync": 1.0}
    iteration = Iteration(seconds, [], [], sampled_tokens=1600, trained_tokens=500, batch=4)
    table = compare([iteration], [Work(2.0, 1600)], [Work(4.0, 500)])
    assert table["rollout"] == {"tokens": [1600], "ours": [200], "yardstick": [800], "ratio": [0.25]}
    assert table["update"]["ratio"] == [pytest.approx(0.4)]
    shares = shares_of_an_iteration([iteration])
    assert shares["seconds"] == [20.0] and shares["rollout"] == [0.4] and shares["sync"] == [0.05]


def test_a_spread_is_median_least_and_most():
    assert spread([3.0, 1.0, 2.5], ".1f") == "2.5 [1.0, 3.0]"


class PlainBackend:
    """Uniform play with made-up tokens: every dialogue is three tokens, two of them sampled."""

    def __init__(self, prepared: Any) -> None:
        self._env_class = prepared.env_class
        self.calls: list[tuple[str, int]] = []

    def rollout(self, requests: Sequence[RolloutRequest], version: int, on_progress: Any = None) -> list[Trajectory]:
        self.calls.append(("rollout", version))
        return [
            dataclasses.replace(self._play(request), tokens=(dialogue([1, 2, 3], [0, 1, 1]),)) for request in requests
        ]

    def _play(self, request: RolloutRequest) -> Trajectory:
        player = make_player("uniform", np.random.default_rng(request.policy_seed))
        seeds = {"reward_seed": request.reward_seed, "policy_seed": request.policy_seed}
        return play_now(self._env_class, player, request.scenario, **seeds)

    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        self.calls.append(("update", len(batch.trajectories)))
        return {
            "update/dropped": 0.0,
            "update/tokens": 3.0 * len(batch.trajectories),
            "update/steps": len(batch.trajectories) / 4,
        }

    def sync(self, version: int) -> dict[str, float]:
        self.calls.append(("sync", version))
        return {}


@pytest.fixture
def prepared() -> Any:
    config = load_config(
        [
            "recipe=mab_tiny",
            "rollout.scenarios=3",
            "rollout.rollouts=4",
            "selection.keep=2",
            "update.batch=4",
            "update.epochs=1",
        ]
    )
    unused: Any = None
    return Prepared(config, load_env("mab", []), "cpu", "model", unused, True, {}, unused, {})


def test_an_iteration_times_every_phase_and_trains_on_whole_batches(prepared, tmp_path):
    backend: Any = PlainBackend(prepared)
    iteration = _iterate(prepared, backend, tmp_path, 2)
    assert tuple(iteration.seconds) == PHASES
    assert backend.calls == [("rollout", 1), ("update", 4), ("sync", 2)]  # 6 are kept, a batch is 4
    assert (len(iteration.played), iteration.sampled_tokens) == (12, 24)
    assert (len(iteration.trained), iteration.trained_tokens, iteration.batch) == (4, 12, 4)
    assert (tmp_path / "train_2.parquet").is_file() and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.fixture
def measured(prepared, monkeypatch) -> None:
    """Two measured iterations of 10 s after a warm-up, without verl, and yardsticks twice and four times as fast."""
    seconds = {"rollout": 8.0, "score": 0.2, "select": 0.1, "log": 0.2, "update": 1.0, "sync": 0.5}
    iterations = [Iteration(seconds, [], [], 800, 400, 4)] * 3
    monkeypatch.setattr(bench, "measure", lambda *_: (prepared, {"prepare": 5.0, "verl and vLLM": 20.0}, iterations))
    monkeypatch.setattr(yardsticks, "generate_offline", lambda *_: [Work(2.0, 800)] * 3)
    monkeypatch.setattr(yardsticks, "train_bare", lambda *_: [Work(0.5, 400)] * 3)
    predicted = {"rollout": {"predicted": [4.0, 4.0], "measured": [8.0, 8.0]}}
    monkeypatch.setattr(bench, "against_the_plan", lambda *_: predicted)  # it reads a model


def test_the_bench_prints_ratios_and_shares_and_writes_them(measured, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--repeats", "2", "--json", str(tmp_path / "b.json"), "seed=1"])
    assert bench.main() == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("recipe=mab_tiny rollout.scenarios=16 seed=1 on cpu")
    assert "rollout 800 100 [100, 100] 400 [400, 400] 0.25 [0.25, 0.25] vLLM's offline generate" in lines
    assert "update 400 400 [400, 400] 800 [800, 800] 0.50 [0.50, 0.50] bare PyTorch loop" in lines
    assert "sync 5.0% [5.0%, 5.0%]" in lines
    assert "start-up 25.0 s (prepare 5.0 s, verl and vLLM 20.0 s): 250% of an iteration, once a run" in lines
    assert lines[-1] == "rollout 4.0 s 0.50 [0.50, 0.50]"
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["phases"]["rollout"]["ratio"] == [0.25, 0.25] and len(written["iterations"]) == 2


def test_a_yardstick_that_did_other_work_is_no_yardstick(measured, monkeypatch):
    monkeypatch.setattr(yardsticks, "generate_offline", lambda *_: [Work(2.0, 799)] * 3)
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    with pytest.raises(AssertionError, match="799 tokens sampled, not 800"):
        bench.main()


def test_the_cost_model_is_told_the_tokens_there_were() -> None:
    config = load_config(["recipe=mab_tiny", "update.epochs=2", "rollout.rollouts=2", "selection.keep=1"])
    prepared: Any = SimpleNamespace(config=config, budget=SimpleNamespace(replies=2))
    long, short = dialogue([1] * 9, [0, 0, 0, 1, 1, 0, 0, 1, 1]), dialogue([1] * 7, [0, 0, 0, 1, 0, 0, 1])
    iteration = Iteration({}, [long, short], [long], sampled_tokens=6, trained_tokens=18, batch=1)
    work = bench.work_done(prepared, iteration)
    assert (work.dialogues, work.replies, work.shared, work.trained, work.steps) == (2, 2, 2, 2, 2)
    assert (work.prompt, work.observed, work.reply) == (3, 2, 1.5)
    assert work.length == (9 + 7) / 2 and work.sampled == 6
