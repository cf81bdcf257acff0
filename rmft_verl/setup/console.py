"""Terminal output: a progress bar per phase, a line per iteration, the closing table."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rmft_verl.bridge.backend import OnProgress

HEADER = "iter       held-out [95 %]  played    kept  invalid  SuffFail  seconds by phase"


class Screen:
    """Writes to the terminal, or lines without bars to a pipe."""

    def __init__(self, console: Console | None = None) -> None:
        width = None if sys.stdout.isatty() else 120  # a pipe has no width; the closing table needs 120
        self.console = console or Console(highlight=False, soft_wrap=True, width=width)

    @contextmanager
    def watch(self, phase: str, episodes: int) -> Iterator[OnProgress]:
        """A bar with the elapsed time and, for a rollout, episodes and sampled tokens per second."""
        columns = [TextColumn(f"{phase:>9}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")]
        hidden = not self.console.is_terminal
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True, disable=hidden) as progress:
            task = progress.add_task(phase, total=episodes or None, rate="")
            start, tokens = time.monotonic(), 0

            def advance(finished: int, sampled: int) -> None:
                nonlocal tokens
                tokens += sampled
                progress.update(task, advance=finished, rate=f"{tokens / (time.monotonic() - start):,.0f} tok/s")

            yield advance

    def iteration(self, n: int, row: dict[str, float]) -> None:
        """Print one line: normalized regret (0 oracle, 1 uniform) held out, played and kept, and the times. The share
        of invalid replies is that held out, or of the rollout where nothing was measured.
        """
        if n == 0:
            self.console.print(f"Normalized regret: 0 = oracle, 1 = uniform play.\n{HEADER}")
        held_out = "-"
        if not math.isnan(row.get("heldout/normalized_regret", math.nan)):
            low, high = row["heldout/normalized_regret_low"], row["heldout/normalized_regret_high"]
            held_out = f"{row['heldout/normalized_regret']:.3f} [{low:.3f}, {high:.3f}]"
        invalid = "rollout/invalid_rate" if held_out == "-" else "heldout/invalid_rate"
        cells = [
            f"{_number(row, 'rollout/normalized_regret', '.3f'):>6}",
            f"{_number(row, 'kept/normalized_regret', '.3f'):>6}",
            f"{_number(row, invalid, '.2%'):>7}",
            f"{_number(row, 'heldout/suffix_failure', '.3f'):>8}",
        ]
        times = " ".join(f"{key[5:]} {value:.0f}" for key, value in row.items() if key.startswith("time/"))
        rate = _number(row, "rollout/tokens_per_second", ",.0f")
        speed = "" if rate == "-" else f" ({rate} tok/s)"
        self.console.print(f"{n:>4}  {held_out:>20}  {'  '.join(cells)}  {times}{speed}")


def _number(row: dict[str, float], key: str, form: str) -> str:
    """The formatted value, or ``-`` if it is missing or NaN."""
    return "-" if math.isnan(row.get(key, math.nan)) else format(row[key], form)
