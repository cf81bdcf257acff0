"""Every numerical recipe as a run, small: files, a second start, refusals in one line."""

from __future__ import annotations

import json

import pytest
import torch

from rmft_verl.main import main
from rmft_verl.main.cli import main as cli
from rmft_verl.store.tracking import read_metrics

torch.set_num_threads(1)
SMALL = ["rollout.scenarios=4", "rollout.rollouts=4", "selection.keep=2", "update.batch=8", "eval.scenarios=24"]
SMALL += ["iterations=2", "eval.every=1", "hardware.device=cpu"]
METHOD = ["rollout.scenarios=8", "update.batch=8", "eval.scenarios=24", "iterations=2", "hardware.device=cpu"]


def run(tmp_path, *arguments: str) -> int:
    return main([*arguments, f"root={tmp_path}", "name=run"])


@pytest.mark.parametrize("recipe", ["fol_numeric", "mab_numeric", "nsmab_numeric"])
def test_a_recipe_trains_reports_and_is_not_trained_again(recipe, tmp_path, capsys):
    assert run(tmp_path, f"recipe={recipe}", *SMALL) == 0
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert rows[-1]["kept/normalized_regret"] < rows[-1]["rollout/normalized_regret"]
    for name in ("growth.md", "growth.png", "table.json", "regret_curves.png", "learning.png", "index.html"):
        assert (tmp_path / "run/report" / name).stat().st_size > 0
    assert (tmp_path / "run/report/policies.png").exists() == (recipe == "fol_numeric")
    players = {row["player"] for row in json.loads((tmp_path / "run/report/growth.json").read_text())}
    assert {"rmft", "base", "uniform", "exp3" if "mab" in recipe else "ftpl"} <= players
    capsys.readouterr()
    assert run(tmp_path, f"recipe={recipe}", *SMALL) == 0
    assert "has finished" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["fol_numeric+regret_loss", "fol_numeric+dpt", "mab_numeric+dpt"])
def test_a_method_trains(recipe, tmp_path):
    assert run(tmp_path, f"recipe={recipe}", *METHOD) == 0
    assert read_metrics(tmp_path / "run/metrics.jsonl")[-1]["update/steps"] > 0


@pytest.mark.parametrize("loss", ["regret", "sft"])
def test_the_theorem_runs(loss, tmp_path):
    small = ["iterations=3", "rollout.scenarios=64", "update.batch=32"]
    assert run(tmp_path, "recipe=theory_ftrl", f"update.loss={loss}", *small) == 0
    assert (tmp_path / "run/report/decisions.png").stat().st_size > 0
    assert set(json.loads((tmp_path / "run/report/table.json").read_text())) == {"rate", "error", "own_error", "cosine"}


def test_a_run_that_was_cut_goes_on_to_the_same_weights(tmp_path):
    assert main(["recipe=fol_numeric", *SMALL, "checkpoint.every=1", f"root={tmp_path}", "name=whole"]) == 0
    short = [argument for argument in SMALL if not argument.startswith("iterations")]
    assert (
        main(["recipe=fol_numeric", *short, "checkpoint.every=1", "iterations=1", f"root={tmp_path}", "name=cut"]) == 0
    )
    assert main(["recipe=fol_numeric", *SMALL, "checkpoint.every=1", f"root={tmp_path}", "name=cut"]) == 0
    whole, cut = (torch.load(tmp_path / name / "checkpoints/final/state.pt")["model"] for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_commands_for_models_on_words_say_so(tmp_path, capsys):
    assert run(tmp_path, "recipe=theory_ftrl", "iterations=1", "rollout.scenarios=8", "update.batch=8") == 0
    capsys.readouterr()
    for words in (["export", "OUT"], ["eval", "fol", "--players", "model", "--run"]):
        path = str(tmp_path / "run")
        given = [words[0], path, str(tmp_path / "out")] if words[0] == "export" else [*words, path]
        assert cli([*given]) == 2
        assert "reads numbers, not words" in capsys.readouterr().err
    assert cli(["report", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recipe=fol_numeric", "model.path=numeric:mamba"], "model.path='numeric:mamba': choose numeric:transformer"),
        (["recipe=fol_numeric", "env.options.actions=[2,3]"], "has one size of input"),
        (["recipe=fol_numeric", "env.options.horizon=[5,9]"], "games of a batch have one length"),
        (["recipe=fol_numeric", "env.options.sequence=[adversary]"], "answers the player"),
        (["recipe=fol_numeric", "update.loss=dpo"], "update.loss='dpo': with model.path=numeric:transformer"),
        (["recipe=fol_numeric", "selection.score=posterior"], "selection.score='posterior'"),
        (["recipe=mab_numeric+regret_loss"], "update.loss='regret' is back-propagated"),
        (["recipe=fol_numeric", "env.name=mixed"], "env.name='mixed': models on numbers play fol, mab, nsmab"),
        (["recipe=theory_ftrl", "env.options.horizon=1"], "horizon=1: use a whole number of at least 2"),
        (["recipe=theory_ftrl", "model.path=numeric:transformer"], "env.name='ball' is for"),
        (["recipe=mab_tiny+dpt", "rollout.scenarios=64"], "update.loss='dpt' trains models on numbers"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(arguments, said, tmp_path, capsys):
    assert run(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
