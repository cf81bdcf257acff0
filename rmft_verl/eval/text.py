"""Tables as plain text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

DASH = "–"
"""Stands where a number does not exist."""


def as_text(*parts: Any, width: int = 200) -> str:
    """What ``rich`` would show of tables and lines on a terminal of this width, without trailing blanks."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in parts:
        console.print(part, markup=False, soft_wrap=isinstance(part, str))
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def plain_table(headers: Sequence[str], **options: Any) -> Any:
    """An empty table with the names left and the numbers right, without lines between rows."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 0), **options)
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number else "left", no_wrap=True)
    return table


def number(value: float, form: str) -> str:
    """A number in a format, without a minus before zero; a dash for NaN."""
    return DASH if math.isnan(value) else format(round(value, 6) + 0.0, form)


def interval(value: float, low: float, high: float) -> str:
    """``0.604 [0.481, 0.734]``; without bounds where there are none."""
    if math.isnan(value):
        return DASH
    return f"{value:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")
