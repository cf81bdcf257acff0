"""The line that a terminal shows of an iteration."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from rmft_verl.setup.console import Screen

HELD_OUT = {f"heldout/normalized_regret{part}": 0.9 for part in ("", "_low", "_high")}


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (
            HELD_OUT | {"heldout/invalid_rate": 0.98, "rollout/invalid_rate": 0.0},
            "98.00%",
        ),  # a warm-up's player is valid
        ({"rollout/invalid_rate": 0.25}, "25.00%"),  # nothing was measured in this iteration
    ],
)
def test_invalid_replies_are_the_models_where_it_was_measured(row: dict[str, float], shown: str) -> None:
    told = StringIO()
    Screen(Console(file=told, width=120)).iteration(1, row)
    assert shown in told.getvalue()
