"""No more dialogues at a time than there are seats, and every one of them is played. Seats are twice what vLLM runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rmft_verl.bridge.sampling.agent_loop import RMFTAgentLoop, _seats
from rmft_verl.bridge.verl_config import agent_loop_file
from rmft_verl.setup.recipe import load_config


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


def test_seats_are_twice_what_an_engine_runs(tmp_path: Path) -> None:
    """Each server plays its own dialogues, however many there are."""
    config = load_config(["recipe=mab_qwen3", "hardware.max_num_seqs=32", "hardware.tensor_parallel=2"])
    agent_loop_file(config, (), tmp_path / "loops.yaml")
    assert OmegaConf.load(tmp_path / "loops.yaml")[0].seats == 64
