"""No more dialogues at a time than there are seats, and every one of them is played."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rmft_verl.bridge.sampling.agent_loop import RMFTAgentLoop, _seats
from rmft_verl.bridge.verl_config import _seats as seats_of
from rmft_verl.config import HardwareConfig


class Playing(RMFTAgentLoop):
    """A loop whose plays only count how many run beside them."""

    def __init__(self, seats: int) -> None:
        self._seats, self.now, self.most, self.played = _seats(seats), 0, 0, 0

    async def _play(self, sampling_params: dict[str, Any], row: dict[str, Any]) -> Any:
        self.now, self.most = self.now + 1, max(self.most, self.now + 1)
        await asyncio.sleep(0.001)
        self.now, self.played = self.now - 1, self.played + 1


def test_seats_are_kept_and_given_back() -> None:
    loop = Playing(3)

    async def everything() -> None:
        await asyncio.gather(*[loop.run({}) for _ in range(10)])

    asyncio.run(everything())
    assert (loop.most, loop.played) == (3, 10)


@pytest.mark.parametrize(("gpus", "tensor_parallel", "workers", "seats"), [(1, 1, 1, 64), (1, 1, 3, 22), (8, 2, 4, 64)])
def test_seats_are_twice_what_the_engines_run(gpus: int, tensor_parallel: int, workers: int, seats: int) -> None:
    hardware = HardwareConfig(
        gpus_per_node=gpus, tensor_parallel=tensor_parallel, agent_workers=workers, max_num_seqs=32
    )
    assert seats_of(hardware) == seats
