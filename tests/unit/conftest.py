from __future__ import annotations

import pytest
from fake_machine import Machine, plain_report

import rmft_verl.store.run_dir
import rmft_verl.train.run
from rmft_verl.store.run_dir import installed_packages


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(rmft_verl.train.run, "prepare", machine.prepare)
    monkeypatch.setattr(rmft_verl.train.run, "start_backend", machine.start)
    monkeypatch.setattr(rmft_verl.train.run, "write_report", plain_report)
    monkeypatch.setattr(rmft_verl.train.run, "references", lambda *_: ())
    monkeypatch.setattr(rmft_verl.store.run_dir, "describe_environment", lambda: {"packages": installed_packages()})
    return machine
