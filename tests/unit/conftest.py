from __future__ import annotations

import pytest
from fake_machine import Machine, plain_report

import rmft_verl.run
import rmft_verl.run_dir
from rmft_verl.run_dir import installed_packages


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(rmft_verl.run, "prepare", machine.prepare)
    monkeypatch.setattr(rmft_verl.run, "start_backend", machine.start)
    monkeypatch.setattr(rmft_verl.run, "write_report", plain_report)
    monkeypatch.setattr(rmft_verl.run, "references", lambda *_: ())
    monkeypatch.setattr(rmft_verl.run_dir, "describe_environment", lambda: {"packages": installed_packages()})
    return machine
