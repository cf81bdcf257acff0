"""The short form of tests/experiments/kills.py: a real process with the fake backend, really killed."""

from __future__ import annotations

from pathlib import Path

import kills
import pytest


def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--fake", "--random", "2", "--every", "6", "--whole", "1"]
    assert kills.main([str(tmp_path / "out"), *options]) == 0
    said = capsys.readouterr().out
    edges = [line for line in said.splitlines() if line.startswith("| edges | 4 |")]
    assert "6 kills, 0 failures" in said and edges and edges[0].endswith("| 9 of 9 |")
