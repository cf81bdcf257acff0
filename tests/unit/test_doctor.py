from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeBackend
from fake_machine import Machine

from rmft_verl.main import doctor
from rmft_verl.main.cli import main
from rmft_verl.main.doctor import GIB, plug_ins, versions


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What distributions say they require; installed are ``one`` 1.2.0+cpu and ``two`` 3.0."""
    asked: dict[str, list[str]] = {}
    installed = {"one": "1.2.0+cpu", "two": "3.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise doctor.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "requires", lambda name: asked[name])
    monkeypatch.setattr(doctor, "version", version)
    return asked


def test_versions_are_held_against_what_is_required(required: dict[str, list[str]]) -> None:
    required["a"] = ["one==1.2.0", "two<3", 'three>=1; extra == "cpu"', 'four; extra == "gpu"']
    assert list(versions("a", "cpu")) == [
        (True, "one 1.2.0+cpu"),
        (False, "two 3.0, a needs two<3: pip install 'two<3'"),
        (False, "three is not installed: pip install 'three>=1'"),
    ]


def test_of_a_required_extra_only_what_is_wrong_is_told(required: dict[str, list[str]]) -> None:
    required["a"] = ["two[fast]==3.0"]
    required["two"] = ["one", 'one>=2; extra == "fast"', 'five; extra == "slow"']
    assert list(versions("a", "cpu")) == [
        (True, "two 3.0"),
        (False, "one 1.2.0+cpu, two needs one>=2: pip install 'one>=2'"),
    ]


def test_plug_ins_that_do_not_load_say_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_here\n")
    found = {finding.text.split()[1]: finding for finding in plug_ins([str(tmp_path)])}
    assert found["mab"].fine and not found["'broken'"].fine
    assert "broken.py:1: ModuleNotFoundError" in found["'broken'"].text
    ((fine, text),) = plug_ins([str(tmp_path / "nowhere")])
    assert not fine and "is not a directory" in text


def test_little_room_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = GIB

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage)
    findings = list(doctor.room(tmp_path / "not" / "there"))
    assert [finding.fine for finding in findings[1:]] == [False] * len(findings[1:])
    assert "disk: 1.0 GiB free for runs in" in findings[1].text and "a run needs 10 GiB" in findings[1].text


def test_the_command_ends_in_the_number_of_problems(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent: Any = lambda *_: iter([doctor.Finding(False, "three is not installed")])  # noqa: E731
    monkeypatch.setattr(doctor, "versions", absent)
    monkeypatch.setattr(doctor, "room", lambda root: iter([]))
    assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert "PROBLEM  three is not installed" in said.out and "ok       environment mab" in said.out
    assert said.err.strip() == "rmft-verl: doctor found 1 problem"


def test_sampling_and_sync_are_tried_on_request(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Canary(FakeBackend):
        def sync(self, version: int) -> dict[str, float]:
            return super().sync(version) | {"sync/canary": 0.0021}

    machine.make = Canary
    monkeypatch.setattr(doctor, "prepare", machine.prepare)
    monkeypatch.setattr(doctor, "start_backend", machine.start)
    monkeypatch.setattr(doctor, "SECONDS", 0)
    fine = list(doctor.sampling(["env.options.horizon=[4]", "eval.scenarios=3"]))
    assert [finding.fine for finding in fine] == [True, True]
    assert fine[0].text.startswith("sampling: 3 trajectories, 100% valid; ") and fine[0].text.endswith("with 3 at once")
    assert fine[1].text == "sync: sampler and trainer differ by 0.0021 nats per token"
    assert machine.backends[0].closed
    (wrong,) = doctor.sampling(["rollout.rolouts=3"])
    assert not wrong.fine and "rollout.rolouts" in wrong.text

    def dies(self: FakeBackend, version: int) -> dict[str, float]:
        raise RuntimeError("no engine\nat all")

    machine.make = type("Dying", (FakeBackend,), {"sync": dies})
    (dead,) = doctor.sampling([])
    assert dead == (False, "sampling: RuntimeError: no engine at all") and machine.backends[-1].closed
    monkeypatch.setattr(doctor, "versions", lambda *_: iter([]))
    monkeypatch.setattr(doctor, "room", lambda root: iter([]))
    capsys.readouterr()
    assert main(["doctor"]) == 0 and "sampling" not in capsys.readouterr().out
    assert main(["doctor", "--sample", "eval.scenarios=3"]) == 2
    assert "PROBLEM  sampling: RuntimeError: no engine at all" in capsys.readouterr().out
