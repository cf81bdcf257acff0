"""Tests import verl themselves, in any order, so the environment must be ready before the first does."""

import os

import pytest

from rmft_verl.bridge.cluster import runtime
from rmft_verl.config import HardwareConfig

runtime.prepare(runtime.device(HardwareConfig()))


COSTLY = {"shared", "survivor"}
"""Fixtures of real runs that several files use."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what ``make soak`` runs besides. One process runs all tests of a file, or of a costly fixture."""
    for item in items:
        costly = COSTLY & set(getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group(costly.pop() if costly else str(item.path)))
        if os.environ.get("RMFT_SOAK") != "1" and item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="make soak"))
