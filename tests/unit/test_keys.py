"""The list of configuration keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rmft_verl.config import Config
from rmft_verl.main.cli import main
from rmft_verl.setup.keys import as_markdown, keys

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_every_key_is_listed_with_its_default_and_a_meaning() -> None:
    defaults = OmegaConf.structured(Config())
    leaves = []

    def walk(node: object, prefix: str) -> None:
        for key in node:  # type: ignore[attr-defined]
            value = OmegaConf.select(defaults, f"{prefix}{key}")
            if OmegaConf.is_dict(value) and len(value):
                walk(value, f"{prefix}{key}.")
            else:
                leaves.append(f"{prefix}{key}")

    walk(defaults, "")
    listed = keys()
    assert [key.name for key in listed] == leaves
    assert [key.name for key in listed if not key.meaning] == []
    typed = OmegaConf.from_dotlist([f"{key.name}={key.default}" for key in listed])
    for key in listed:
        found, expected = OmegaConf.select(typed, key.name), OmegaConf.select(defaults, key.name)
        assert found == expected or (found is None and expected == ""), key


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Make it again with ``rmft-verl config --markdown``."""
    assert main(["config", "--markdown"]) == 0
    assert capsys.readouterr().out == as_markdown(keys()) == PAGE.read_text(encoding="utf-8")


def test_keys_are_chosen_by_their_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "update.be"]) == 0
    said = capsys.readouterr().out
    assert said == "update.beta=0.1\n    DPO: strength of the pull towards the model that played.\n"
    assert main(["config", "updaet"]) == 2
    assert "no key begins with updaet" in capsys.readouterr().err
