"""What ``envs check`` says of a wrong ``say`` or ``prior``.

Nothing else would show it before a model has learned it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rmft_verl.main.cli import main

RIGHT = {
    "say": 'return f"Action: {self.scenario.actions[action]}"',
    "prior": 'return {"law": "bernoulli", "low": 0.1, "high": 0.9}',
}


@pytest.fixture
def drop_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["envs", "new", "mine"]) == 0
    return tmp_path / "my_envs" / "mine.py"


@pytest.mark.parametrize(
    ("part", "wrong", "said"),
    [
        ("say", 'return f"I take {self.scenario.actions[action]}"', "parse reads as None"),
        ("say", 'return f"Action: {self.scenario.actions[action - 1]}"', "say(0) is 'Action: "),
        ("prior", 'return {"law": "binary", "low": 0.1, "high": 0.9}', "knows no law='binary'"),
        ("prior", 'return {"law": "bernoulli", "low": 0.1}', "has other keywords than docs/write_an_env.md"),
        ("prior", 'return {"law": "bernoulli", "low": 0.3, "high": 0.5}', "says means between 0.3 and 0.5"),
        ("prior", 'return {"law": "bernoulli", "low": 0.1, "high": 0.9, "min_gap": 0.7}', "says min_gap=0.7"),
    ],
)
def test_a_wrong_optional_part_is_one_line(
    drop_in: Path, part: str, wrong: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = drop_in.read_text(encoding="utf-8")
    assert text.count(RIGHT[part]) == 1
    drop_in.write_text(text.replace(RIGHT[part], wrong), encoding="utf-8")
    capsys.readouterr()
    assert main(["envs", "check", "mine"]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line


@pytest.mark.parametrize("arguments", [[], ["--full-information"]])
def test_the_scaffolds_have_the_optional_parts(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["envs", "new", "mine", *arguments]) == 0
    assert main(["envs", "check", "mine"]) == 0
    assert "def say(" in (tmp_path / "my_envs" / "mine.py").read_text(encoding="utf-8")
    assert main(["eval", "mine", "--scenarios", "2"]) == 0  # found in ./my_envs
