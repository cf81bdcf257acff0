"""Tables as plain text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

DASH = "–"
"""Shown where a number does not exist."""


def as_text(*parts: Any, width: int = 200) -> str:
    """Tables and lines as ``rich`` prints them on a terminal of this width, without trailing blanks."""
    from rich.console import Console

    # Taken for Jupyter's, a console displays what it is given and leaves the file empty.
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    for part in parts:
        console.print(part, markup=False, soft_wrap=isinstance(part, str))
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def plain_table(headers: Sequence[str], **options: Any) -> Any:
    """An empty table: names left-aligned, numbers right-aligned, no lines between rows."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 0), **options)
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number else "left", no_wrap=True)
    return table


def number(value: float, form: str) -> str:
    """A formatted number, without a minus sign before zero; a dash for NaN."""
    return DASH if math.isnan(value) else format(round(value, 6) + 0.0, form)


def interval(value: float, low: float, high: float) -> str:
    """``0.604 [0.481, 0.734]``; no bounds if they are NaN."""
    if math.isnan(value):
        return DASH
    return f"{value:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")
