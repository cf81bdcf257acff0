"""A chat template that prints the date prints one date in all of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_machine import Machine, start
from omegaconf import OmegaConf

import rmft_verl.store.run_dir
import rmft_verl.train.run
from rmft_verl.eval.players import base_model
from rmft_verl.main import main
from rmft_verl.store.run_dir import RunDir, describe_environment, write_text
from rmft_verl.types import RunError


@pytest.fixture
def dates(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The date that the chat template is given, of each start."""
    seen: list[Any] = []

    def starting(prepared: Any, directory: Path) -> Any:
        seen.append(prepared.config.model.chat_template.get("today"))
        return machine.start(prepared, directory)

    monkeypatch.setattr(rmft_verl.train.run, "start_backend", starting)
    monkeypatch.setattr(rmft_verl.store.run_dir, "describe_environment", describe_environment)  # the real one
    return seen


def set_date(run: Path, date: str | None) -> None:
    found = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    write_text(run / "environment.json", json.dumps(found | {"date": date} if date else {"packages": {}}))


def test_a_run_that_is_resumed_on_another_day_keeps_its_date(tmp_path: Path, dates: list[Any]) -> None:
    run = start(tmp_path)
    assert dates == [time.strftime("%Y-%m-%d")] == [RunDir(run).date]
    set_date(run, "2024-02-29")
    assert main([f"resume={run}", "iterations=4"]) == 0
    assert base_model(run, [])[0].model.chat_template["today"] == "2024-02-29"  # an evaluation of it too
    assert main([f"resume={run}", "iterations=5"]) == 0
    assert dates[1:] == ["2024-02-29"] * 2
    set_date(run, None)  # a run of an earlier version
    assert main([f"resume={run}", "iterations=6"]) == 0
    assert dates[3] is None


def test_a_given_date_is_used(tmp_path: Path, dates: list[Any]) -> None:
    start(tmp_path, "model.chat_template.today=2020-01-02")
    assert dates == ["2020-01-02"]


def test_a_template_file_that_was_edited_is_refused(tmp_path: Path, machine: Machine) -> None:
    file = tmp_path / "t.jinja"
    file.write_text("${one}")
    given = f"model.chat_template_file={file}"
    run = start(tmp_path, given)
    model = {"custom_chat_template": "\\${one}"}
    write_text(run / "verl.yaml", OmegaConf.to_yaml({"actor_rollout_ref": {"model": model}}))
    start(tmp_path, given)
    file.write_text("two")
    with pytest.raises(RunError, match="started with another text of model"):
        start(tmp_path, given, "iterations=4")
