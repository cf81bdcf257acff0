"""The kit for a first run on a GPU, as far as it goes without one: pieces, commands, and the plan of every run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).parents[1] / "gpu"
sys.path.insert(0, str(GPU))

import kit  # noqa: E402
import pieces  # noqa: E402
import stages  # noqa: E402

from rmft_verl.main import main  # noqa: E402


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("large.whl", "small.whl", "empty.whl")]
    for file, size in zip(made, (2_500, 10, 0), strict=True):
        file.write_bytes(bytes(i % 251 for i in range(size)))
    return made


def test_pieces_make_the_same_files(files: list[Path], tmp_path: Path) -> None:
    found = pieces.split(files, tmp_path / "kit", most=1_000)
    assert [len(each) for each in found.values()] == [3, 1, 1]
    assert max(file.stat().st_size for file in (tmp_path / "kit").glob("*.whl.*")) == 1_000
    joined = pieces.join(tmp_path / "kit", tmp_path / "there")
    assert [file.read_bytes() for file in joined] == [file.read_bytes() for file in files]


@pytest.mark.parametrize("harm", ["missing", "changed", "short"])
def test_a_damaged_piece_is_named(harm: str, files: list[Path], tmp_path: Path) -> None:
    pieces.split(files, tmp_path / "kit", most=1_000)
    piece = tmp_path / "kit" / "large.whl.001"
    if harm == "missing":
        piece.unlink()
    else:
        content = piece.read_bytes()
        piece.write_bytes(content[:-1] if harm == "short" else b"x" + content[1:])
    with pytest.raises(ValueError, match=r"large\.whl\.001: carry them again"):
        pieces.join(tmp_path / "kit", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert pieces.main(["join", str(tmp_path / "kit"), str(tmp_path / "there")]) == 2


def test_what_the_machine_has_is_not_carried(tmp_path: Path) -> None:
    listed = {"rmft_verl": "1", "torch": "2.11.0", "nvidia-cudnn-cu13": "9", "nvidia-ml-py": "13", "Jinja2": "3.1"}
    install = [{"metadata": {"name": name, "version": version}} for name, version in listed.items()]
    (tmp_path / "report").write_text(json.dumps({"install": install}))
    wanted = kit.versions(tmp_path / "report")
    torch = {"torch": "2.11.0", "nvidia-cudnn-cu13": "9", "jinja2": "3.1"}
    assert kit.carried(wanted, torch) == ["jinja2==3.1", "nvidia-ml-py==13"]


def test_the_kit_says_what_it_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kit.main(["collect", str(tmp_path / "kit"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "pip install --dry-run" in told and "[gpu]" in told and "pip wheel" in told and "torch==2.11.0" in told
    assert kit.main(["assemble", str(tmp_path / "kit"), str(tmp_path / "place"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "--no-index" in told and "cuda.is_available" in told
    monkeypatch.setattr(kit, "PYTHON", (3, 1))
    assert kit.main(["collect", str(tmp_path / "kit")]) == 2
    assert "collect with Python 3.1, not" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert kit.main(["assemble", str(tmp_path / "no kit"), str(tmp_path / "place")]) == 2
    assert "pieces.json" in capsys.readouterr().err


def test_the_environment_sees_the_packages_of_the_python_that_makes_it(tmp_path: Path) -> None:
    create = next(iter(kit.commands(tmp_path)))
    subprocess.run([*create, "--without-pip"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    assert subprocess.run([python, "-c", "import pytest"], capture_output=True).returncode == 1
    kit.see_machine(tmp_path / "venv")  # this Python's pytest may be one of a virtual environment
    assert subprocess.run([python, "-c", "import pytest"], capture_output=True).returncode == 0


RUNS = {
    f"{name}: {command[2]}": command
    for name, commands in stages.stages(Path("/nowhere"), "SMOLLM2").items()
    for command in commands
    if command[0] == "-m"
}


@pytest.mark.parametrize("name", RUNS)
def test_the_plan_of_every_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["model.path=tiny:mab"] if "smollm2" in name else []  # whose weights may not be here
    arguments = [each for each in RUNS[name][2:] if not (model and each.startswith("model.path="))]
    assert main([*arguments, *model, "dry_run=true"]) == 0, capsys.readouterr().err


SCRIPTED = {
    f"{name}: {Path(model).name}": (model, [each for each in command if "=" in each and each != f"model.path={model}"])
    for name, commands in stages.stages(Path("/nowhere"), "SMOLLM2").items()
    for command in commands
    for model in [each.removeprefix("model.path=") for each in command if each.startswith("model.path=/nowhere/")]
}


@pytest.mark.parametrize("name", SCRIPTED)
def test_what_a_script_starts_fits_a_card_of_80_gib(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, arguments = SCRIPTED[name]
    real = "Qwen/Qwen3-" + model.removeprefix("/nowhere/qwen3_")
    told = ["recipe=mab_qwen3", *arguments, f"model.path={real}", "hardware.gpu_gib=80", "dry_run=true"]
    assert main(told) == 0, capsys.readouterr().err


def test_every_script_of_a_stage_exists_and_takes_its_arguments(tmp_path: Path) -> None:
    for commands in stages.stages(tmp_path, "SMOLLM2").values():
        for command in commands:
            assert command[0] == "-m" or Path(command[0]).is_file()
    assert list(stages.stages(tmp_path, "SMOLLM2")) == ["a", "b", "c1", "c2", "c3", "d", "e"]


def test_a_stage_leaves_json_whatever_becomes_of_it(tmp_path: Path) -> None:
    fine = stages.run("fine", [["-c", "print('done')"]], tmp_path)
    assert fine["finished"]
    failed = stages.run("failed", [["-c", "raise SystemExit('no card')"], ["-c", "print()"]], tmp_path)
    assert not failed["finished"]
    slow = stages.run("slow", [["-c", "import time; time.sleep(60)"]], tmp_path, limit=1.0)
    assert not slow["finished"]
    told = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("stage_*.json")}
    assert [command["rc"] for command in told["stage_failed"]["commands"]] == [1]
    assert "no card" in told["stage_failed"]["commands"][0]["tail"]
    assert told["stage_slow"]["commands"][0]["rc"] == 124


def test_an_unknown_stage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stages.main([str(tmp_path / "out"), "z"])
    assert "no stage z" in capsys.readouterr().err
