"""What a newcomer types first: each is answered within seconds, in words that say how to go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import SMALL, make_run

import rmft_verl.train.run
from rmft_verl.main import main
from rmft_verl.main.cli import main as cli
from rmft_verl.setup.recipe import find_recipes


@pytest.mark.parametrize("call", [main, lambda words: cli(["train", *words])])
@pytest.mark.parametrize(
    ("words", "status"), [(["--help"], 0), (["-h"], 0), (["recipe=mab_tiny", "--help"], 0), ([], 2)]
)
def test_help_shows_usage_recipes_and_an_example(call, words, status, capsys) -> None:
    assert call(words) == status
    said = capsys.readouterr()
    text = said.err if status else said.out
    assert "recipe=NAME" in text and "resume=RUN" in text and "recipe=mab_tiny dry_run=true" in text
    assert all(name in text for name in find_recipes())


@pytest.mark.parametrize("words", [["seed=1"], ["dry_run=true"], ["update.lr=1e-5", "env.name=mab"]])
def test_settings_without_a_recipe_say_what_is_missing(words, capsys) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "recipe=NAME" in said and "--help" in said


@pytest.mark.parametrize("name", ["dpo", "random", "grpo+posterior", "warmup"])
def test_a_recipe_that_is_laid_over_another_says_so(name, capsys) -> None:
    assert main([f"recipe={name}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"recipe=NAME+{name}" in said and "recipe=mab_tiny+dpo" in said


def test_recipes_marks_the_two_kinds(capsys) -> None:
    assert cli(["recipes"]) == 0
    whole, laid = capsys.readouterr().out.split("laid over")
    named = {line.split()[0] for line in whole.splitlines() if line.startswith("  ")}
    above = {line.split()[0] for line in laid.splitlines() if line.startswith("  ")}
    assert {"mab_tiny", "mab_qwen3", "theory_ftrl"} <= named and {"dpo", "random", "warmup"} <= above
    assert named | above == set(find_recipes()) and not named & above


@pytest.mark.parametrize("words", [["report"], ["export"], ["rescore"], ["eval", "mab", "--players", "model", "--run"]])
def test_an_empty_folder_is_no_run(words, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    last = [str(tmp_path / "out")] if words == ["export"] else []
    assert cli([*words, str(tmp_path / "empty"), *last]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is not a run directory" in said and "name one" in said


CASES = {
    "a name outside of the root": (["name=../x"], ["name='../x'", "without a slash"]),
    "a name that is taken": (["name=latest"], ["name='latest'", "choose another"]),
    "a name that no disk takes": ([f"name={'x' * 300}"], ["choose another"]),
    "plays that cannot differ": (
        ["rollout.temperature=0"],
        ["rollout.temperature=0", "rollout.rollouts=16", "above 0"],
    ),
    "no such tracker": (["tracking.backends=[tensorbord]"], ["'tensorbord'", "tensorboard"]),
    "a tracker without its package": (["tracking.backends=[rl_insight]"], ["rl_insight", "pip install"]),
    "a root below a file": (["root=/dev/null/x"], ["/dev/null is not a directory", "root="]),
}


@pytest.mark.parametrize("recipe", ["mab_tiny", "fol_numeric"])
@pytest.mark.parametrize("also", [[], ["dry_run=true"]])
@pytest.mark.parametrize("case", CASES)
def test_a_start_and_its_dry_run_refuse_the_same(case, also, recipe, tmp_path, monkeypatch, capsys) -> None:
    arguments, expected = CASES[case]
    if recipe == "fol_numeric" and "temperature" in arguments[0]:
        pytest.skip("models on numbers do not sample tokens")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rmft_verl.train.run, "prepare", lambda *_: pytest.fail("it loads"))
    assert main([f"recipe={recipe}", *arguments, *also]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(part in said for part in expected), said
    assert not list(tmp_path.iterdir())


def test_a_teacher_plays_whatever_the_temperature() -> None:
    from rmft_verl.setup.recipe import load_config

    assert load_config(["recipe=mab_tiny", "rollout.player=ucb1", "rollout.temperature=0"]).rollout.temperature == 0
    one = ["rollout.rollouts=1", "selection.keep=1", "update.batch=8", "rollout.temperature=0"]
    assert load_config(["recipe=mab_tiny", *one]).rollout.rollouts == 1


def test_a_report_without_its_metrics_says_what_is_missing(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=2", *SMALL], finished=False)
    rows = run.metrics.read_text()
    for text in ("", rows.split("\n")[0] + "\n", None):
        run.metrics.unlink() if text is None else run.metrics.write_text(text)
        assert cli(["report", str(run.path)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "metrics.jsonl" in said and "iterations" in said and "restore it" in said
        assert not list(run.report.iterdir())
    run.metrics.write_text(rows)
    assert cli(["report", str(run.path)]) == 0


def test_a_run_that_has_not_learnt_has_no_trained_model(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=1", *SMALL], finished=False)
    run.trajectories("eval", 1).unlink()
    run.metrics.write_text(run.metrics.read_text().split("\n")[0] + "\n")
    run.write_state(rmft_verl.store.run_dir.RunState(0))
    assert cli(["report", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert "stopped before its first update" in said and f"resume={run.path}" in said
    table = (run.report / "table.txt").read_text(encoding="utf-8")
    assert "base" in table and "there is no trained model" in table and "\ntrained" not in table
    assert not (run.report / "learning.png").exists()
    run.write_state(rmft_verl.store.run_dir.RunState(1, phase="update"))
    assert cli(["report", str(run.path)]) == 0
    assert "no model is measured since the 1 updates" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["fol_numeric", "theory_ftrl"])
def test_a_numeric_run_that_stopped_at_its_start_is_told_in_one_line(recipe: str, tmp_path: Path, capsys) -> None:
    from omegaconf import OmegaConf

    from rmft_verl.setup.recipe import load_config

    text = OmegaConf.to_yaml(OmegaConf.structured(load_config([f"recipe={recipe}"])))
    run = rmft_verl.store.run_dir.RunDir.create(tmp_path, "run", text)
    assert cli(["report", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "let the run finish" in said
    assert not list(run.report.iterdir())
