from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rmft_verl.labs.numeric import figures


def test_regret_without_a_logarithm_is_marked_and_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    falls = np.tile([2.0, 1.0, 0.0, -1.0], (2, 3, 1))
    drawn: list[Any] = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    figures.draw_growth({"rmft": {("sine", 4): falls}, "uniform": {("sine", 4): falls + 5}}, tmp_path / "growth.png")
    _, below = drawn[0].axes
    marked = [list(line.get_xdata()) for line in below.get_lines() if line.get_marker() == "s"]
    assert marked == [[3, 4], []] and "marks at the bottom" in below.get_ylabel()
    drawn[0].savefig(tmp_path / "drawn.png")
    assert below.get_position().width > 0.2, "the marks take no room from the panels"
