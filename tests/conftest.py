"""Tests import verl themselves, in any order, so the environment must be ready before the first does."""

import os

import pytest

from rmft_verl.bridge.cluster import runtime
from rmft_verl.config import HardwareConfig

runtime.prepare(runtime.device(HardwareConfig()))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave out what ``make soak`` runs besides. One process takes all real runs: two at once would fill the memory."""
    real = item.get_closest_marker("e2e") is not None
    item.add_marker(pytest.mark.xdist_group("real" if real else str(item.path)))
    if os.environ.get("RMFT_SOAK") != "1" and item.get_closest_marker("soak"):
        item.add_marker(pytest.mark.skip(reason="make soak"))
