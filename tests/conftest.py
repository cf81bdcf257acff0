"""Tests import verl themselves, in any order, so the environment must be ready before the first does."""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from rmft_verl.bridge.cluster import runtime, scratch
from rmft_verl.config import HardwareConfig

runtime.prepare(runtime.device(HardwareConfig()))

REAL = "tests/e2e"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave out what ``make soak`` runs besides."""
    if os.environ.get("RMFT_SOAK") != "1" and item.get_closest_marker("soak"):
        item.add_marker(pytest.mark.skip(reason="make soak"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of two processes the one that takes the real runs, which last longest, begins with them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(REAL))


class Shares(LoadFileScheduling):
    """Which process of ``pytest -n 2`` runs a test: a file's tests stay together, and so do all real runs, since two at
    once would fill the memory.
    """

    def _split_scope(self, nodeid: str) -> str:
        return REAL if nodeid.startswith(REAL) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    return Shares(config, log)


def pytest_testnodedown(node: Any, error: object) -> None:
    """A process of the tests has died: say how, and of what Ray's part of it warned last, which pytest does not."""
    if error:
        print(f"\nexit status {node.gateway._io.popen.wait(timeout=60)}", file=sys.stderr)
        logs = Path(tempfile.gettempdir()).glob(f"{scratch.PREFIX}*/ray/session_*/logs/*core-driver*.log")
        for log in sorted(logs, key=lambda path: path.stat().st_mtime)[-1:]:
            print(
                *re.findall(r"^\[.* [WEF] \d+ .*", log.read_text(errors="replace"), re.M)[-10:],
                sep="\n",
                file=sys.stderr,
            )
