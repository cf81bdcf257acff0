"""``rmft-verl view --live``: the page of a run that trains reloads itself, and the last one does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_runs import SMALL, make_run
from test_view import read

from rmft_verl.main.cli import main
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.train.view import RELOAD, live

REFRESH = f'<meta http-equiv="refresh" content="{RELOAD}">'


@pytest.fixture
def training(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "run", ["recipe=mab_tiny", *SMALL, "iterations=1"], finished=False)


def test_the_page_follows_the_run_until_its_end(training: RunDir, tmp_path: Path) -> None:
    page, later = training.report / "index.html", tmp_path / "later"
    later.mkdir()
    for file in (training.path / "trajectories").glob("*_001*"):
        shutil.move(file, later / file.name)  # the state of a run that has measured its base only
    seen: list[tuple[bool, int]] = []
    places: list[Path] = []

    def wait(seconds: float) -> None:
        seen.append((REFRESH in page.read_text("utf-8"), len(read(page)["runs"][0]["sets"])))
        if len(seen) == 1:
            page.unlink()
            shutil.copytree(later, training.path / "trajectories", dirs_exist_ok=True)
        else:
            write_text(training.report / "table.json", "[]\n")

    assert live(training.path, told=places.append, wait=wait) == page
    assert seen == [(True, 1), (True, 3)] and places == [page]
    assert 'http-equiv="refresh"' not in page.read_text("utf-8")


def test_a_page_is_not_written_again_without_news(training: RunDir) -> None:
    page, waits = training.report / "index.html", []

    def wait(seconds: float) -> None:
        waits.append(page.exists())
        page.unlink(missing_ok=True)
        if len(waits) == 3:
            write_text(training.report / "table.json", "[]\n")

    live(training.path, told=lambda place: None, wait=wait)
    assert waits == [True, False, False] and page.exists()


def test_a_run_without_its_first_measurement_is_waited_for(training: RunDir) -> None:
    moved = training.path / "trajectories" / "eval_000.parquet"
    moved.rename(training.path / "aside")
    for file in (training.path / "trajectories").glob("*_001*"):
        file.unlink()
    waits = []

    def wait(seconds: float) -> None:
        waits.append((training.report / "index.html").exists())
        if len(waits) == 1:
            (training.path / "aside").rename(moved)
        else:
            write_text(training.report / "table.json", "[]\n")

    live(training.path, told=lambda place: None, wait=wait)
    assert waits == [False, True]


def test_the_command(training: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(training.report / "table.json", "[]\n")
    assert main(["view", "--live", str(training.path), str(training.path)]) == 2
    assert "--live shows one run" in capsys.readouterr().err
    assert main(["view", "--live", str(training.path)]) == 0
    assert "has finished" in capsys.readouterr().out
