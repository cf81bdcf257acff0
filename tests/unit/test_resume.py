"""A run that is cut anywhere and started again is, but for its times, the run that was not cut."""

from __future__ import annotations

import errno
import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_backend import FakeBackend, Fuse, KilledError
from fake_machine import SMALL, Machine, facts, start

from rmft_verl.env import load_env
from rmft_verl.main import main
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.places import RunDirError
from rmft_verl.store.run_dir import RunDir, RunState
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import RunError


def cut(machine: Machine, burns: int, root: Path, *arguments: str) -> None:
    """Start a run that is killed at a count of its fuse."""
    machine.fuse = Fuse(burns)
    with machine.fuse.lit(), pytest.raises(KilledError):
        start(root, *arguments)
    machine.fuse = Fuse()


def on_file(run: Path) -> set[tuple[int, int]]:
    """Updates of the model and reward seed of the first play of every file of plays."""
    first = [read_trajectories(path)[0] for path in (run / "trajectories").glob("*_*.parquet")]
    return {(play.policy_version, play.reward_seed) for play in first}


def count_ticks(machine: Machine, root: Path, *arguments: str) -> list[str]:
    machine.fuse = Fuse()
    with machine.fuse.lit():
        start(root, *arguments)
    return machine.fuse.ticks


def moments(ticks: Sequence[str], stride: int) -> list[int]:
    """When to kill: all of ``ticks`` if RMFT_KILL=everywhere (minutes); else every ``stride``-th, or for 0 inside each
    phase and at its end.
    """
    if os.environ.get("RMFT_KILL") == "everywhere":
        return list(range(len(ticks)))
    if stride:
        return list(range(stride // 2, len(ticks), stride))
    changes = tuple(Fuse.WATCHED)
    return [i for i, tick in enumerate(ticks) if not tick.startswith(changes) or tick == "replace state.json"]


@pytest.mark.parametrize(
    ("stride", "options"),
    [
        (0, ("iterations=2",)),
        (7, ("rollout.tokens=60",)),
        (9, ("checkpoint.every=2", "checkpoint.keep=1", "eval.every=2")),
    ],
    ids=str,
)
def test_a_run_that_is_killed_anywhere_ends_as_one_that_is_not(
    machine: Machine, tmp_path: Path, stride: int, options: tuple[str, ...]
) -> None:
    ticks = count_ticks(machine, tmp_path / "whole", *options)
    whole = facts(tmp_path / "whole" / "run")
    for burns in moments(ticks, stride):
        root = tmp_path / str(burns)
        cut(machine, burns, root, *options)
        found = on_file(root / "run") if (root / "run").exists() else set()
        machine.backends.clear()
        start(root, *options)
        assert facts(root / "run") == whole, f"killed at {burns}: {ticks[burns]}"
        assert not found & {rollout for backend in machine.backends for rollout in backend.rollouts}


def test_killed_again_and_again(machine: Machine, tmp_path: Path) -> None:
    """Each attempt gets a little further than the one before, or as far."""
    start(tmp_path / "whole")
    attempts = 0
    while not (tmp_path / "cut" / "run" / "report" / "table.json").exists():
        machine.fuse = Fuse(45)
        try:
            with machine.fuse.lit():
                start(tmp_path / "cut")
        except KilledError:
            attempts += 1
        assert attempts < 40
    assert attempts > 3
    assert facts(tmp_path / "cut" / "run") == facts(tmp_path / "whole" / "run")


def test_four_iterations_are_two_and_two(machine: Machine, tmp_path: Path) -> None:
    four = start(tmp_path / "four", "iterations=4")
    start(tmp_path / "two", "iterations=2")
    two = start(tmp_path / "two", "iterations=4")
    assert facts(two) == facts(four)
    assert load_config([f"resume={two}"]).iterations == 4


def test_another_machine_goes_on_with_a_warning(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = start(tmp_path, "iterations=2")
    capsys.readouterr()
    start(tmp_path, "hardware.gpus_per_node=2", "hardware.max_num_seqs=128")
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "hardware.gpus_per_node=1, now 2; hardware.max_num_seqs=256, now 128: it goes on, with other rounding" in told
    )
    assert facts(two) == facts(start(tmp_path / "whole"))


def test_a_state_is_hashed_while_the_sampler_gets_the_weights(machine: Machine, tmp_path: Path) -> None:
    folder, seen = tmp_path / "run" / "checkpoints", list[Any]()

    def look() -> None:
        names = sorted(path.name for path in folder.iterdir())
        seen.append((names, RunDir.open(tmp_path / "run").read_state().phase))

    machine.make = failing("sync", 2, look)  # after the first update
    start(tmp_path, "checkpoint.keep=9")
    assert seen == [(["step_001.partial"], "rollout")]
    assert [len(list(folder.glob("step_*/sha256.json"))), (folder / "step_001").is_dir()] == [3, True]


def test_a_finished_run_says_so_and_starts_nothing(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(tmp_path)
    before, started = facts(run), len(machine.backends)
    capsys.readouterr()
    arguments = [*SMALL, "iterations=3", f"root={tmp_path}", "name=run"]
    assert main(arguments) == 0 and main([f"resume={run}"]) == 0
    assert capsys.readouterr().out.count("has finished: its 3 iterations are done") == 2
    (run / "report" / "table.json").unlink()  # cut while the report was written
    assert main(arguments) == 0
    assert facts(run) == before and len(machine.backends) == started


def test_resume_names_the_run_instead_of_the_recipe(machine: Machine, tmp_path: Path) -> None:
    ticks = count_ticks(machine, tmp_path / "whole")
    cut(machine, len(ticks) // 2, tmp_path)
    assert main([f"resume={tmp_path / 'run'}"]) == 0
    assert facts(tmp_path / "run") == facts(tmp_path / "whole" / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["update.lr=0.25"], ["update.lr=0.0005, now 0.25"]),
        (["selection.keep=1", "seed=4"], ["selection.keep=2.0, now 1.0", "seed=0, now 4"]),
        (["iterations=2"], ["iterations=3, now 2"]),
    ],
)
def test_a_changed_configuration_is_refused_with_the_difference(
    machine: Machine, tmp_path: Path, changes: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(tmp_path)
    before = facts(run)
    for begin in ([*SMALL, "iterations=3", f"root={tmp_path}", "name=run"], [f"resume={run}"]):
        capsys.readouterr()
        assert main([*begin, *changes]) == 2
        line = capsys.readouterr().err.strip()
        assert "\n" not in line and all(part in line for part in said) and "choose another name=" in line
    assert facts(run) == before and len(machine.backends) == 1
    start(tmp_path, "tracking.project=other", "checkpoint.keep=1")  # these change no number


def test_one_process_writes_to_a_run(machine: Machine, tmp_path: Path) -> None:
    cut(machine, 40, tmp_path)
    with RunDir.open(tmp_path / "run").held(), pytest.raises(RunDirError, match="written by another process"):
        start(tmp_path)
    start(tmp_path)


# ---- faults ---------------------------------------------------------------------------------------------------------


def failing(method: str, at: int, action: Callable[[], None]) -> type[FakeBackend]:
    """A backend that does something else at the beginning of the ``at``-th call of a method."""
    calls = [0]

    def replaced(self: FakeBackend, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            action()
        return vars(FakeBackend)[method](self, *args, **kwargs)

    return type("Failing", (FakeBackend,), {method: replaced})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("method", ["rollout", "update", "sync", "save_state", "save"])
def test_a_signal_stops_a_run_that_goes_on_later(
    machine: Machine, tmp_path: Path, number: signal.Signals, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = start(tmp_path / "whole")
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    machine.make = failing(method, 1 if method == "save" else 2, lambda: os.kill(os.getpid(), number))
    capsys.readouterr()
    assert main([*SMALL, "iterations=3", f"root={tmp_path}", "name=run"]) == 128 + number
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"rmft_verl: stopped by {number.name}")
    assert line.endswith(f"rmft_verl.main resume={tmp_path / 'run'}")
    assert machine.backends[-1].closed
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    machine.make = FakeBackend
    start(tmp_path)
    assert facts(tmp_path / "run") == facts(whole)


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_space_for_torch() -> None:
    torch.save(torch.zeros(1 << 20), "/dev/full")


def no_space_for_safetensors() -> None:
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("full_disk", [no_space, no_space_for_torch, no_space_for_safetensors])
def test_a_full_disk_says_what_to_free(machine: Machine, tmp_path: Path, full_disk: Callable[[], None]) -> None:
    whole = start(tmp_path / "whole")
    machine.make = failing("save_state", 2, full_disk)
    with pytest.raises(RunError, match=r"is full \(.*checkpoints/step_001 0 MB.*\): free some.*resume="):
        start(tmp_path)
    machine.make = FakeBackend
    start(tmp_path)
    assert facts(tmp_path / "run") == facts(whole)


def test_an_unknown_error_keeps_its_traceback_and_says_how_to_go_on(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.make = failing("update", 2, lambda: [][0])
    with pytest.raises(IndexError):
        start(tmp_path)
    assert f"Go on with: python -m rmft_verl.main resume={tmp_path / 'run'}" in capsys.readouterr().err
    assert RunDir.open(tmp_path / "run").read_state().phase == "rollout"


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    if how == "cut":
        path.write_bytes(content[:middle])
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
@pytest.mark.parametrize("file", ["weights.npy", "rng.txt", "sha256.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    machine: Machine, tmp_path: Path, file: str, how: str
) -> None:
    whole = start(tmp_path / "whole")
    machine.make = failing("sync", 4, lambda: [][0])  # after the third update
    with pytest.raises(IndexError):
        start(tmp_path)
    machine.make = FakeBackend
    last = tmp_path / "run" / "checkpoints" / "step_003"
    spoil(last / file, how)
    with pytest.raises(RunDirError, match=r"step_003 is damaged \(.*\): remove it .*goes on from update 2") as caught:
        start(tmp_path)
    assert "\n" not in str(caught.value)
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    machine.backends.clear()
    start(tmp_path)
    assert facts(tmp_path / "run") == facts(whole)
    assert [len(backend.updates) for backend in machine.backends] == [1]
    assert on_file(tmp_path / "run") >= set(machine.backends[0].rollouts)  # only the last evaluation was played
    assert len(machine.backends[0].rollouts) == 1


def test_damaged_rollouts_are_named(machine: Machine, tmp_path: Path) -> None:
    machine.make = failing("update", 2, lambda: [][0])
    with pytest.raises(IndexError):
        start(tmp_path)
    machine.make = FakeBackend
    spoil(tmp_path / "run" / "trajectories" / "train_002.parquet", "cut")
    with pytest.raises(RunDirError, match=r"train_002\.parquet cannot be read .*: restore it or remove it"):
        start(tmp_path)
    (tmp_path / "run" / "trajectories" / "train_002.parquet").unlink()
    whole = start(tmp_path / "whole")
    start(tmp_path)
    assert facts(tmp_path / "run") == facts(whole)  # the same seeds and the same model: sampled again


@pytest.mark.parametrize("text", ['{"iterat', "[]", '{"iteration": 1, "phase": "lunch"}', '{"iteration": 1, "row": 3}'])
def test_a_damaged_state_is_named(machine: Machine, tmp_path: Path, text: str) -> None:
    cut(machine, 60, tmp_path)
    (tmp_path / "run" / "state.json").write_text(text)
    with pytest.raises(RunDirError, match=r"state\.json cannot be read"):
        start(tmp_path)


def raise_in_the_plug_in() -> None:
    raise ZeroDivisionError("the plug-in divides by zero")


@pytest.mark.parametrize(("share", "stops"), [(0.5, False), (0.6, True)])
def test_plays_that_raise_are_recorded_and_too_many_stop_the_run(
    machine: Machine, tmp_path: Path, share: float, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_class = load_env("mab", [])
    step, calls = env_class.step, [0]

    def sometimes(self: Any, action: Any) -> Any:
        calls[0] += 1
        if calls[0] / 4 % 1 == 0.25 and calls[0] // 4 % 10 < 10 * share:  # in the first round of a play
            calls[0] += 3
            raise_in_the_plug_in()
        return step(self, action)

    monkeypatch.setattr(env_class, "step", sometimes)
    sizes = ("eval.scenarios=10", "rollout.scenarios=5", "rollout.rollouts=4")
    if not stops:
        run = start(tmp_path, *sizes)
        assert sum("by zero" in t.error for t in read_trajectories(run / "trajectories" / "train_001.parquet")) == 10
        return
    with pytest.raises(RunError, match=r"iteration 0: 6 of 10 trajectories .*ZeroDivisionError: the plug-in") as caught:
        start(tmp_path, *sizes)
    assert "\n" not in str(caught.value)
    written = read_trajectories(tmp_path / "run" / "trajectories" / "failed_eval_000.parquet")
    assert sum("raise_in_the_plug_in" in t.error for t in written) == 6
    monkeypatch.undo()


def test_what_a_row_says_so_far_survives(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a")
    run.write_state(RunState(2, "id", "update", {"update/loss": 0.5, "rollout/suffix_failure": math.nan}))
    state = run.read_state()
    assert (state.iteration, state.phase, state.updates, state.completed) == (2, "update", 2, 1)
    assert state.row["update/loss"] == 0.5 and np.isnan(state.row["rollout/suffix_failure"])
    assert "NaN" not in (run.path / "state.json").read_text()
