"""A run under another configuration that begins where one stood, and the states of the trainer that stay on file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeBackend
from fake_machine import SMALL, Machine, facts, start

from rmft_verl.main import main
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import read_metrics
from rmft_verl.types import RunError, Trajectory


def cut_in(machine: Machine, root: Path, method: str, at: int, *arguments: str) -> Path:
    """A run that ends with an error at the beginning of the ``at``-th call of a method."""
    calls = [0]

    def failing(self: FakeBackend, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise IndexError
        return vars(FakeBackend)[method](self, *args, **kwargs)

    machine.make = type("Failing", (FakeBackend,), {method: failing})
    with pytest.raises(IndexError):
        start(root, *arguments)
    machine.make = FakeBackend
    return root / "run"


def test_a_fork_goes_on_from_the_last_complete_iteration(machine: Machine, tmp_path: Path) -> None:
    source = cut_in(machine, tmp_path, "update", 3)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    machine.backends.clear()
    assert main([f"fork={source}", f"root={tmp_path}", "name=other", "update.lr=0.25", "iterations=4"]) == 0
    other = tmp_path / "other"
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert len(machine.backends[0].updates) == 2  # the third and the fourth
    for name in ("train_001", "train_002", "eval_000", "eval_001", "eval_002"):
        file = f"trajectories/{name}.parquet"
        assert (other / file).read_bytes() == (source / file).read_bytes()
    rows = read_metrics(other / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3, 4] and rows[:3] == read_metrics(source / "metrics.jsonl")
    assert RunDir.open(other).read_state().wandb_id != RunDir.open(source).read_state().wandb_id
    assert load_config([f"resume={other}"]).update.lr == 0.25
    assert main([f"resume={other}"]) == 0  # it has finished


def test_a_fork_that_changes_nothing_is_the_run_itself(machine: Machine, tmp_path: Path) -> None:
    whole = facts(start(tmp_path / "whole"))
    source = cut_in(machine, tmp_path, "update", 3)
    assert main([f"fork={source}", f"root={tmp_path}", "name=other"]) == 0
    assert facts(tmp_path / "other") | {"checkpoints": 0} == whole | {"checkpoints": 0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["eval.scenarios=5"], "eval.scenarios=3, now 5: a fork cannot change these"),
        (["model.context=2048"], "model.context=1024, now 2048: a fork cannot change these"),
        (["env.options.horizon=[5]"], "env.options.horizon=[4], now [5]: a fork cannot change these"),
        (["update.lr=0.25"], "iterations=3: it has 3 already; set iterations above 3"),
    ],
)
def test_what_would_not_compare_is_refused(
    machine: Machine, tmp_path: Path, changes: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = start(tmp_path)
    capsys.readouterr()
    assert main([f"fork={source}", f"root={tmp_path}", "name=other", *changes]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line
    assert not (tmp_path / "other").exists()


def test_a_state_without_an_optimizer_begins_no_run_that_needs_one(machine: Machine, tmp_path: Path) -> None:
    source = start(tmp_path, "update.start=base")
    with pytest.raises(RunError, match="its states hold no optimizer"):
        start(tmp_path, f"fork={source}", "iterations=4", "update.start=current", name="other")
    assert not (tmp_path / "other").exists()
    start(tmp_path, f"fork={source}", "iterations=4", "update.start=base", name="other")


def test_a_run_without_a_state_cannot_be_forked(machine: Machine, tmp_path: Path) -> None:
    source = cut_in(machine, tmp_path, "update", 1)
    with pytest.raises(RunError, match="no complete iteration with a saved state"):
        start(tmp_path, f"fork={source}", name="other")


def test_a_damaged_state_is_not_forked(machine: Machine, tmp_path: Path) -> None:
    source = start(tmp_path)
    (source / "checkpoints" / "step_003" / "rng.txt").write_text("1 2")
    with pytest.raises(RunError, match=r"step_003 is damaged \(.*\): remove it .*to fork from the one before"):
        start(tmp_path, f"fork={source}", "iterations=4", name="other")
    assert not (tmp_path / "other").exists()


# ---- retention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regrets", [(9, 5, 1, 2, 3, 4), (9, 1, 2, 3, 4, 5), (9, 5, 4, 3, 2, 1)], ids=str)
@pytest.mark.parametrize("resumed", [False, True])
def test_the_best_state_stays_with_the_last_ones(
    machine: Machine, tmp_path: Path, regrets: tuple[int, ...], resumed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:

    def measured(played: Sequence[Trajectory], row: Any) -> dict[str, float]:
        keys = ("", "_low", "_high")
        return {f"heldout/normalized_regret{key}": float(regrets[played[0].policy_version]) for key in keys}

    monkeypatch.setattr("rmft_verl.train.trainer.held_out_metrics", measured)
    options = ("checkpoint.best=true", "checkpoint.keep=1")
    if resumed:
        start(tmp_path, "iterations=3", *options)
    run = start(tmp_path, "iterations=5", *options)
    best = min(range(1, 5), key=regrets.__getitem__)  # the fifth is measured when nothing is removed any more
    kept = {"final", "step_005", f"step_{best:03d}"}
    assert {path.name for path in (run / "checkpoints").iterdir()} == kept


def test_the_last_good_state_is_there_at_every_moment(machine: Machine, tmp_path: Path) -> None:
    """With one state kept, the one before is removed only once the next is whole and noted."""
    seen: list[list[str]] = []

    def save_state(self: FakeBackend, directory: Path) -> None:
        seen.append(sorted(path.name for path in directory.parent.glob("step_*") if not path.name.endswith("partial")))
        FakeBackend.save_state(self, directory)

    machine.make = type("Looking", (FakeBackend,), {"save_state": save_state})
    run = start(tmp_path, "checkpoint.keep=1")
    assert seen == [[], ["step_001"], ["step_002"]]
    assert json.loads((run / "state.json").read_text())["phase"] == "save"


def test_arguments_name_the_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"fork={tmp_path / 'nowhere'}"]) == 2
    assert "nowhere: no run is there" in capsys.readouterr().err
    assert main([*SMALL, f"fork={tmp_path / 'nowhere'}", f"root={tmp_path}", "name=a"]) == 2
