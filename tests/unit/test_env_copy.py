"""A run keeps the source of its environment, and whatever is computed later is computed with that."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_machine import Machine, start
from made_runs import SMALL, make_run
from omegaconf import OmegaConf

import rmft_verl.train.run
from rmft_verl.env import load_env
from rmft_verl.env.source import find_source, load_copy, meaning
from rmft_verl.eval.compare.arms import Arm
from rmft_verl.eval.compare.runs import plan
from rmft_verl.main import main
from rmft_verl.main.cli import main as command
from rmft_verl.setup.models import base_model
from rmft_verl.setup.recipe import load_config, reload_config
from rmft_verl.setup.warmup import warmed
from rmft_verl.store import env_copy
from rmft_verl.store.run_dir import RunDir
from rmft_verl.types import RunError

HERE = Path(__file__).parent
GAME = ("env.name=toy_bandit", "model.path=tiny:mab", "iterations=1", *SMALL)


@pytest.fixture
def games(tmp_path: Path) -> Path:
    """A folder with one drop-in."""
    folder = tmp_path / "my_envs"
    folder.mkdir()
    shutil.copy(HERE / "toy_bandit.py", folder)
    return folder


def edit(games: Path) -> None:
    """Now every arm that would have paid pays nothing, and the other way round."""
    file = games / "toy_bandit.py"
    text = file.read_text(encoding="utf-8")
    changed = text.replace("uniform_T_A < self._means_A", "uniform_T_A > self._means_A")
    assert changed != text
    file.write_text(changed, encoding="utf-8")


def made(path: Path, games: Path) -> RunDir:
    """A finished run on the drop-in."""
    run = make_run(path, [*GAME, f"env_dirs=[{games}]"])
    env_copy.keep(run.path, reload_config(run.config, ()))
    return run


def trained(root: Path, games: Path, *arguments: str) -> Path:
    """A run from the command line on a machine that is not there."""
    words = [*GAME, f"env_dirs=[{games}]", f"root={root}", "name=run", *arguments]
    return rmft_verl.train.run.run(load_config(words))


def report(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert command(["report", str(run)]) == 0
    return capsys.readouterr().out


# ---- later commands -------------------------------------------------------------------------------------------------


def test_an_edit_changes_no_number_of_an_old_report(
    tmp_path: Path, games: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path / "run", games)
    before = report(run.path, capsys)
    edit(games)
    assert report(run.path, capsys) == before
    shutil.rmtree(run.path / "env")  # a run of an earlier version, which has only the source of today
    assert report(run.path, capsys) != before


def test_a_report_needs_the_folder_no_more(tmp_path: Path, games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path / "run", games)
    before = report(run.path, capsys)
    shutil.rmtree(games)
    assert report(run.path, capsys) == before
    assert command(["rescore", str(run.path), "score=reward"]) == 0


def test_commands_work_from_another_folder(
    tmp_path: Path, games: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained(tmp_path / "runs", Path("my_envs"), "iterations=1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert reload_config(run / "config.yaml", ()).env_dirs == [str(games)]
    assert main([f"resume={run}", "iterations=2"]) == 0


def test_arms_of_two_versions_are_not_paired(tmp_path: Path, games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = made(tmp_path / "one", games)
    edit(games)
    other = made(tmp_path / "other", games)
    for second, shared in ((other, False), (one, True)):
        arms = ["--run", "a", str(one.path), "--run", "b", str(second.path)]
        assert command(["compare", *arms, "--root", str(tmp_path / "root")]) == 0
        said = capsys.readouterr().out
        assert ("ucb1 (a)" in said, "versions of the environment" in said) == (not shared, not shared)


def test_an_arm_that_was_trained_on_another_source_is_refused(
    tmp_path: Path, games: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "toy_seed0", games)
    (tmp_path / "recipes").mkdir()
    OmegaConf.save(OmegaConf.from_dotlist([*GAME, f"env_dirs=[{games}]"]), tmp_path / "recipes" / "toy.yaml")
    monkeypatch.chdir(tmp_path)
    edit(games)
    with pytest.raises(RunError, match=r"was trained with another toy_bandit\.py"):
        plan([Arm("toy", "toy", ())], [0], tmp_path)


# ---- going on -------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path: Path, games: Path, machine: Machine) -> None:
    run = trained(tmp_path, games)
    edit(games)
    longer = [f"resume={run}", "iterations=2"]
    with pytest.raises(RunError) as caught:
        rmft_verl.train.run.run(load_config(longer))
    line = str(caught.value)
    assert "started with another toy_bandit.py" in line and "\n" not in line
    assert f"env_dirs=[{run / 'env'}]" in line and "name=" in line
    with pytest.raises(RunError, match=r"another toy_bandit\.py"):
        trained(tmp_path, games, f"fork={run}", "name=fork", "iterations=2")
    assert main([*longer, f"env_dirs=[{run / 'env'}]"]) == 0  # the first remedy
    assert main([f"resume={run}", "iterations=3"]) == 0  # which is remembered
    assert trained(tmp_path, games, "name=new").name == "new"  # the second


def test_a_folder_that_moved_is_named_on_resume(
    tmp_path: Path, games: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path, games)
    games.rename(tmp_path / "moved")
    assert main([f"resume={run}", "iterations=2"]) == 2
    line = capsys.readouterr().err
    assert "is not a directory" in line and f"env_dirs=[{run / 'env'}]" in line
    assert main([f"resume={run}", "iterations=2", f"env_dirs=[{tmp_path / 'moved'}]"]) == 0


def test_comments_and_layout_are_no_change(tmp_path: Path, games: Path, machine: Machine) -> None:
    run = trained(tmp_path, games)
    file = games / "toy_bandit.py"
    file.write_text("# doors\n\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert main([f"resume={run}", "iterations=2"]) == 0


def test_workers_load_the_copy(tmp_path: Path, games: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def starting(prepared: Any, directory: Path) -> Any:
        seen.append(prepared.config.env_dirs)
        return machine.start(prepared, directory)

    monkeypatch.setattr(rmft_verl.train.run, "start_backend", starting)
    run = trained(tmp_path, games)
    assert seen == [[str(run / "env")]]
    assert load_env("toy_bandit", seen[0]).name == "toy"


def test_a_fork_keeps_the_source_too(tmp_path: Path, games: Path, machine: Machine) -> None:
    run = trained(tmp_path, games)
    trained(tmp_path, games, f"fork={run}", "name=fork", "iterations=2")
    assert (tmp_path / "fork" / "env" / "toy_bandit.py").read_bytes() == (games / "toy_bandit.py").read_bytes()


def test_a_damaged_copy_is_refused(tmp_path: Path, games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path / "run", games)
    edit(run.path / "env")
    assert command(["report", str(run.path)]) == 2
    assert "env/toy_bandit.py is not what the run was begun with" in capsys.readouterr().err


def test_a_base_that_was_warmed_up_in_another_version_is_refused(tmp_path: Path, games: Path) -> None:
    config = load_config([*GAME, f"env_dirs=[{games}]", f"root={tmp_path}", "warmup.scenarios=8", "warmup.batch=4"])
    warmed(config).mkdir(parents=True)
    (warmed(config) / "config.json").write_text("{}")
    env_copy.keep(warmed(config).parents[1], config)
    assert base_model(config) == str(warmed(config))
    edit(games)
    with pytest.raises(RunError, match=r"warmed up with another toy_bandit\.py: remove it"):
        base_model(config)


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_an_installed_plug_in_is_its_modules_and_what_they_import() -> None:
    files = find_source("nsmab").files
    assert {"env_plugins/__init__.py", "env_plugins/nsmab/drift.py", "env_plugins/mab/laws.py"} <= set(files)
    assert {"env_plugins/contexts/heldout.py", "env_plugins/answer_line.py"} <= set(files)
    assert not [name for name in files if name.startswith(("env_plugins/fol", "env_plugins/mixed"))]
    assert "env_plugins/fol/env.py" in find_source("mixed", options=["mab", "fol"]).files


def test_a_folder_is_kept_whole_without_what_python_writes(tmp_path: Path) -> None:
    folder = tmp_path / "games" / "pair"
    (folder / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "rules.json", ".notes", "__pycache__/x.pyc"):
        (folder / name).write_text("")
    assert list(find_source("pair", [str(tmp_path / "games")]).files) == ["pair/__init__.py", "pair/rules.json"]


def test_the_copy_of_a_package_plays_in_its_block_and_is_gone_behind_it(tmp_path: Path) -> None:
    config = load_config(["recipe=mixed_tiny"])
    env_copy.keep(tmp_path, config)
    laws = tmp_path / "env" / "env_plugins" / "mab" / "laws.py"
    laws.write_text(laws.read_text(encoding="utf-8") + "\nVERSION = 1\n", encoding="utf-8")
    live = load_env("mixed"), sys.modules["env_plugins.mixed"]
    with load_copy(tmp_path / "env", "env_plugins.mixed:MixedEnv") as env_class:
        scenario = env_class.Generator(**config.env.options).draw(np.random.default_rng(0))
        env_class(scenario, 0).reset()
        from env_plugins.mab import laws as copied

        assert copied.VERSION == 1  # type: ignore[attr-defined]
        assert env_class is not live[0]
        import env_plugins.contexts  # shared by all

        assert str(tmp_path) in str(env_plugins.contexts.__file__)
    assert (load_env("mixed"), sys.modules["env_plugins.mixed"]) == live
    assert str(tmp_path) not in " ".join(sys.path)
    import env_plugins.mab.laws as again

    assert not hasattr(again, "VERSION")


def test_a_run_of_an_older_package_goes_on_only_with_that(tmp_path: Path, machine: Machine) -> None:
    run = start(tmp_path)
    manifest = run / "env" / env_copy.MANIFEST
    older = run / "env" / "env_plugins" / "mab" / "env.py"
    before = older.read_bytes()
    older.write_bytes(before + b"\nOLDER = True\n")
    noted = json.loads(manifest.read_text(encoding="utf-8"))
    noted["sha256"]["env_plugins/mab/env.py"] = env_copy._checksum(older)
    manifest.write_text(json.dumps(noted), encoding="utf-8")
    with pytest.raises(RunError, match=r"another env_plugins/mab/env\.py \(kept in .*\): restore that version"):
        start(tmp_path, "iterations=4")


def test_python_is_compared_by_what_it_does(tmp_path: Path) -> None:
    texts = {"a.py": "x = 1", "b.py": "x=1  # one", "c.py": "x = 2", "d.txt": "x = 1", "e.py": "x = = 1"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    said = {name: meaning(tmp_path / name) for name in texts}
    assert said["a.py"] == said["b.py"] and len(set(said.values())) == 4
