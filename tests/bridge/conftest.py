"""What tests need that run verl's engine in this process: its process group, and one thread for a tiny model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from cpu_engine import one_process


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with one_process(tmp_path_factory.mktemp("gloo")):
        yield
    torch.set_num_threads(threads)
