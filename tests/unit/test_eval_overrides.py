"""What ``rmft-verl eval`` is told and does not use is refused, and an evaluation without a result is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from rmft_verl.main.cli import main as cli
from rmft_verl.players.ucb1 import UCB1


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("env.options.horizon=[10]", "--option horizon=[10]"),
        ("env.eval_options.arms=[3]", "--option arms=[3]"),
        ("env.name=fol", "TARGET"),
        ("eval.scenarios=3", "--scenarios"),
        ("rollout.temperature=0.5", "eval.temperature"),
        ("seed=3", "--seed"),
        ("update.lr=1e-5", "leave it out"),
    ],
)
@pytest.mark.parametrize("source", [["--recipe", "mab_tiny"], ["--run", "runs/a"], ["--base", "runs/a"]])
def test_an_evaluation_refuses_keys_that_it_does_not_use(source, override, remedy, capsys) -> None:
    assert cli(["eval", "mab", "--players", "model", *source, override]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and override in said and remedy in said


def test_every_key_is_used_or_refused_by_an_evaluation() -> None:
    from rmft_verl.eval.options import INSTEAD, USED, check_overrides
    from rmft_verl.setup.recipe import known_keys
    from rmft_verl.types import RunError

    keys = known_keys()
    assert not {*USED, *INSTEAD} - set(keys)
    for key in keys:
        if any(key == used or key.startswith(f"{used}.") for used in USED):
            check_overrides([f"{key}=1"])
        else:
            with pytest.raises(RunError, match=key):
                check_overrides([f"{key}=1"])


@pytest.mark.parametrize("words", [["--recipe", "mab_tiny"], ["--base", "runs/a"], ["--temperature", "0.5"]])
def test_options_of_a_player_that_does_not_play_are_refused(words, capsys) -> None:
    assert cli(["eval", "mab", "--players", "ucb1", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words[0] in said


def test_comparing_elsewhere_refuses_the_same_keys(tmp_path: Path, capsys) -> None:
    words = ["--ood", "mab", "--ood-override", "env.options.horizon=[9]", "--root", str(tmp_path / "root")]
    assert cli(["compare", "mab_tiny", *words]) == 2
    assert "env.options.horizon=[9]" in capsys.readouterr().err and not (tmp_path / "root").exists()


def test_an_evaluation_in_which_all_fails_exits_with_1(tmp_path: Path, monkeypatch, capsys) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(UCB1, "act", broken)
    words = ["eval", "mab", "--scenarios", "2", "--players", "ucb1", "uniform"]
    assert cli([*words, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "ucb1 on mab: 2 of 2 episodes failed" in said.err and "uniform" in said.out
