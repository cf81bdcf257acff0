"""The notebooks of docs/ run from the first cell to the last, and are stored as they ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def notebook(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def kinds(book: Any) -> list[set[str]]:
    """What each cell of code put out: text, figures, tables."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    return [
        {kind for out in cell.outputs for kind in out.get("data", {out.output_type: ""}) if out.get("name") != "stderr"}
        for cell in cells
    ]


def displays(book: Any) -> list[list[str]]:
    """What each cell of code displayed, as text."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    return [[out["data"].get("text/plain", "") for out in cell.outputs if "data" in out] for cell in cells]


def test_there_are_two() -> None:
    assert NAMES == ["a_new_environment", "what_did_the_model_learn"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_says_what_it_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RMFT_E2E", raising=False)
    stored = notebook(name)
    told = kinds(stored)
    assert sum(map(bool, told)) >= 4 and not any("error" in kind for kind in told)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(stored, timeout=900, kernel_name="python3", resources=resources).execute()
    assert kinds(stored) == told
    assert all(len(set(shown)) == len(shown) for shown in displays(stored))
