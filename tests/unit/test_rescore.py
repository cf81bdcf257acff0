from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import SMALL, make_run
from omegaconf import OmegaConf
from toy_bandit import toy_trajectory

from rmft_verl.main.cli import main
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.store.trajectory_file import read_kept, read_trajectories, write_kept, write_trajectories
from rmft_verl.types import Trajectory

HERE = str(Path(__file__).parent)


def rescored(run: RunDir, *settings: str) -> dict[str, Any]:
    file = run.path / "rescored.json"
    assert main(["rescore", str(run.path), *settings, "--json", str(file)]) == 0
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def small(path: Path, *arguments: str, recipe: str = "mab_tiny") -> RunDir:
    few = [word for word in SMALL if word.split("=")[0] not in {one.split("=")[0] for one in arguments}]
    return make_run(path, [f"recipe={recipe}", *few, "iterations=2", *arguments], ("uniform", "thompson"))


def by_hand(path: Path, *arguments: str) -> RunDir:
    """One iteration of four plays of one game of two rounds; those of regret 0 and 1 were kept."""
    plays = [
        toy_trajectory([0.0, 1.0], [1, 1], [0.0, 1.0]),  # regret 0, reward 1
        toy_trajectory([0.0, 1.0], [0, 1], [0.0, 0.0]),  # regret 1, reward 0
        toy_trajectory([0.0, 1.0], [0, 0], [1.0, 1.0]),  # regret 2, reward 2: luck
        toy_trajectory([0.0, 1.0], [1, 0], [0.0, 0.0], parsed=False),  # invalid: never a candidate
    ]
    run = RunDir.create(path.parent, path.name)
    config = load_config(
        ["env.name=toy_bandit", f"env_dirs=[{HERE}]", "selection.keep=2", "update.batch=1", *arguments]
    )
    write_text(run.config, OmegaConf.to_yaml(OmegaConf.structured(config)))
    write_trajectories(run.trajectories("train", 1), plays, phase="train", iteration=1)
    write_kept(run.trajectories("train", 1), [0, 1])
    return run


def test_what_was_kept_is_read_beside_the_plays(tmp_path: Path) -> None:
    run = by_hand(tmp_path / "run")
    assert read_kept(run.trajectories("train", 1)) == [0, 1]
    plain: list[Trajectory] = [toy_trajectory([0.0, 1.0], [0])]
    write_trajectories(tmp_path / "plain.parquet", plain, phase="eval", iteration=0)
    assert read_kept(tmp_path / "plain.parquet") is None


def test_the_numbers_of_another_rule_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rescored(by_hand(tmp_path / "run"), "score=reward")
    assert found["then"]["score"] == "regret" and found["now"]["score"] == "reward"
    (row,) = found["iterations"]
    assert row == {"iteration": 1} | found["total"]
    assert (row["played"], row["kept_then"], row["kept_now"]) == (4, 2, 2)
    assert row["regret_played"] == 1.0  # (0 + 1 + 2 + 1) / 4, and uniform play costs 1
    assert (row["regret_then"], row["regret_now"]) == (0.5, 1.0)  # plays of regret 0 and 1; 0 and 2
    assert (row["suffix_failure_then"], row["suffix_failure_now"]) == (0.0, 0.5)
    assert (row["min_fraction_then"], row["min_fraction_now"]) == (0.5, 0.0)
    assert row["jaccard"] == pytest.approx(1 / 3)  # one of three
    assert row["spearman"] == pytest.approx(-0.5)  # ranks 1 2 3 and 2 3 1
    assert "reward, further=0.0, keep=2.0" in capsys.readouterr().out


def test_a_threshold_that_keeps_nothing_has_no_regret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = rescored(by_hand(tmp_path / "run"), "threshold=-1")["total"]
    assert (row["kept_now"], row["regret_now"], row["suffix_failure_now"], row["jaccard"]) == (0, None, None, 0.0)
    assert " – " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["selection.score=random"], ["update.loss=dpo"]])
def test_the_same_rule_keeps_what_was_kept(tmp_path: Path, arguments: list[str]) -> None:
    total = rescored(small(tmp_path / "run", *arguments))["total"]
    assert total["jaccard"] == 1.0 and total["spearman"] == pytest.approx(1.0)
    assert total["regret_then"] == total["regret_now"] and total["kept_then"] == 12


def test_the_posterior_score_ranks_otherwise(tmp_path: Path) -> None:
    found = rescored(small(tmp_path / "run"), "score=posterior", "further=1")
    assert [row["iteration"] for row in found["iterations"]] == [1, 2]
    assert found["now"]["further"] == 1.0
    assert 0.0 < found["total"]["jaccard"] < 1.0 and -1.0 < found["total"]["spearman"] < 1.0
    assert found["total"]["regret_then"] < found["total"]["regret_now"]  # by regret nothing is lower than by regret


def test_the_options_of_the_old_score_do_not_follow_the_new(tmp_path: Path) -> None:
    run = small(tmp_path / "run", "selection.score=posterior", "selection.further=2", "selection.threshold=9")
    assert rescored(run, "score=regret")["now"] == {
        "score": "regret",
        "further": 0.0,
        "keep": 2.0,
        "group_by": "scenario",
        "threshold": None,
        "accept": "best",
        "loss": "sft",
    }
    now = rescored(run, "score=posterior", "keep=1")["now"]  # the score is what it was
    assert (now["further"], now["threshold"], now["keep"]) == (2.0, 9.0, 1.0)


def test_what_reinforcement_trained_on_is_held_against_a_selection(tmp_path: Path) -> None:
    found = rescored(small(tmp_path / "run", "update.loss=grpo"), "keep=1")
    assert (found["then"]["loss"], found["now"]["loss"]) == ("grpo", "sft")
    assert (found["total"]["kept_then"], found["total"]["kept_now"]) == (24, 6)  # 2 iterations of 3 x 4 plays
    assert found["total"]["jaccard"] == 0.25


def test_a_smaller_selection_than_a_batch_is_no_obstacle(tmp_path: Path) -> None:
    assert rescored(small(tmp_path / "run"), "keep=1")["total"]["kept_now"] == 6  # update.batch=4, 3 an iteration


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["score=luck"], "selection.score='luck'"),
        (["keep=99"], "selection.keep=99"),
        (["further=1"], "selection.further=1 belongs to selection.score=posterior"),
        (["lr=1"], "'lr=1': write key=value with one of score, further, keep, group_by, threshold, accept"),
        (["score"], "'score': write key=value"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    settings: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small(tmp_path / "run")
    assert main(["rescore", str(run.path), *settings]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line


def test_plays_of_which_only_the_kept_are_on_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = by_hand(tmp_path / "run")
    path = run.trajectories("train", 1)
    write_trajectories(path, read_trajectories(path)[:2], phase="train", iteration=1)
    assert main(["rescore", str(run.path), "score=reward"]) == 2
    assert "holds only what was kept" in capsys.readouterr().err


def test_a_score_that_does_not_fit_the_environment_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", ["recipe=fol_tiny", *SMALL, "iterations=1"], ("uniform",))
    assert main(["rescore", str(run.path), "score=posterior"]) == 2
    assert "fol reveals all rewards" in capsys.readouterr().err
    total = rescored(run, "score=reward")["total"]
    assert total["suffix_failure_now"] is None and total["regret_now"] is not None


def test_a_run_without_rollouts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = by_hand(tmp_path / "run")
    run.trajectories("train", 1).unlink()
    assert main(["rescore", str(run.path)]) == 2
    assert "holds no rollouts yet" in capsys.readouterr().err
