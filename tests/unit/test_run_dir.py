from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from rmft_verl.store import run_dir
from rmft_verl.store.places import RunDirError
from rmft_verl.store.run_dir import RunDir, RunState, replacing, write_text


def test_create_makes_the_layout_and_points_latest_at_it(tmp_path):
    first, second = RunDir.create(tmp_path, "first"), RunDir.create(tmp_path, "second")
    names = {"environment.json", "state.json", "trajectories", "checkpoints", "report"}
    assert {path.name for path in first.path.iterdir()} == names
    assert (tmp_path / "latest").resolve() == second.path
    assert (tmp_path / "latest").readlink() == Path("second")  # relative: the tree can be moved
    assert RunDir.open(tmp_path / "latest") == RunDir.open(second.path)
    assert first.trajectories("train", 3) == first.path / "trajectories" / "train_003.parquet"


def test_a_directory_that_holds_a_run_is_refused_and_untouched(tmp_path):
    run = RunDir.create(tmp_path, "a")
    write_text(run.config, "seed: 1\n")
    with pytest.raises(RunDirError, match=r"a already holds files: choose another name=.* or remove it \(rm -r "):
        RunDir.create(tmp_path, "a")
    assert run.config.read_text() == "seed: 1\n"


@pytest.mark.parametrize("name", ["", "..", "latest", "a/b", "/a"])
def test_names_that_are_not_plain_directories_are_refused(tmp_path, name):
    with pytest.raises(RunDirError, match="not a plain directory name"):
        RunDir.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="cannot be written") as caught:
        RunDir.create(tmp_path / "file", "a")
    assert "\n" not in str(caught.value)


def test_open_refuses_what_is_not_a_run(tmp_path):
    with pytest.raises(RunDirError, match=r"no state\.json"):
        RunDir.open(tmp_path)


def test_files_are_readable_by_others_as_the_umask_allows(tmp_path):
    (tmp_path / "plain").write_text("")
    run = RunDir.create(tmp_path, "a")
    expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE((run.path / "state.json").stat().st_mode) == expected


def test_state_survives_and_a_damaged_one_is_named(tmp_path):
    run = RunDir.create(tmp_path, "a")
    state = run.read_state()
    assert state.iteration == 0 and len(state.wandb_id) == 8
    run.write_state(RunState(4, state.wandb_id))
    assert RunDir.open(run.path).read_state() == RunState(4, state.wandb_id)
    (run.path / "state.json").write_text('{"iterat')
    with pytest.raises(RunDirError, match=r"state\.json cannot be read"):
        run.read_state()


def test_recorded_lists_the_iterations_of_one_phase(tmp_path):
    run = RunDir.create(tmp_path, "a")
    for phase, iteration in [("eval", 0), ("eval", 1000), ("eval", 2), ("train", 1), ("eval_base", 7)]:
        run.trajectories(phase, iteration).touch()
    assert run.recorded("eval") == [0, 2, 1000]
    assert run.recorded("train") == [1]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_environment_names_versions_and_commit(tmp_path):
    recorded = json.loads((RunDir.create(tmp_path, "a").path / "environment.json").read_text())
    assert recorded["packages"]["rmft_verl"] and recorded["packages"]["pyarrow"]
    assert recorded["python"].startswith("3.") and recorded["cpus"] >= 1 and recorded["command"]


def test_commit_is_none_outside_a_checkout(tmp_path):
    assert run_dir._commit(tmp_path) is None
