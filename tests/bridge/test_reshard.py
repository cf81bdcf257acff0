"""A trainer's state that one number of ranks has written and another loads: gloo, FSDP2 and Adam, without verl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from rmft_verl.bridge.training import reshard
from rmft_verl.types import RunError


@pytest.mark.parametrize(("before", "world"), [(1, 2), (2, 1), (2, 3), (4, 3)])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 12])
def test_each_rank_gets_the_rows_that_torch_would_give_it(before: int, world: int, rows: int) -> None:
    whole = torch.arange(rows * 2.0).reshape(rows, 2)
    empty = whole[:0]
    pieces = (*whole.chunk(before), *[empty] * before)[:before]
    wanted = (*whole.chunk(world), *[empty] * world)[:world]
    for rank in range(world):
        torch.testing.assert_close(reshard.own_rows(pieces, rank, world), wanted[rank], rtol=0, atol=0)


def on_ranks(work: str, world: int, directory: Path) -> list[Any]:
    """Call a function of ``WORK`` in a process for each rank; returns what the ranks have returned."""
    meeting = directory / f"meeting_{uuid4().hex}"
    command = [sys.executable, __file__, work, str(directory / "state"), str(meeting), str(world)]
    processes = [subprocess.Popen([*command, str(rank)]) for rank in range(world)]
    assert [process.wait(300) for process in processes] == [0] * world
    return [torch.load(f"{meeting}_{rank}", weights_only=False) for rank in range(world)]


def main(work: str, directory: str, meeting: str, world: str, rank: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    torch.save(WORK[work](Path(directory)), f"{meeting}_{rank}")
    torch.distributed.barrier()
    os._exit(0)  # as gloo's threads end they abort the process now and then, which is none of what is tested


def _trainer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)
    )  # neither 5 nor 1 is even
    fully_shard(model, mesh=init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def _step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
    optimizer.zero_grad()
    model(torch.linspace(-1, 1, 12).reshape(4, 3) * n).square().mean().backward()  # the same rows on every rank
    optimizer.step()


def _whole(model: torch.nn.Module) -> dict[str, Any]:
    return {name: value.full_tensor().tolist() for name, value in model.state_dict().items()}


def train_and_save(directory: Path) -> dict[str, Any]:
    """Two steps, the state, and what a third step would make of it."""
    model, optimizer = _trainer()
    for n in (1, 2):
        _step(model, optimizer, n)
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    for part, content in (("model", model.state_dict()), ("optim", optimizer.state_dict()), ("extra_state", rank)):
        torch.save(content, directory / f"{part}_world_size_{world}_rank_{rank}.pt")
    _step(model, optimizer, 3)
    return _whole(model)


def load_and_train(directory: Path) -> tuple[dict[str, Any], int]:
    """The third step from what was saved, and whose extra state this rank got."""
    model, optimizer = _trainer()
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    with reshard.own_part(directory, ["model", "optimizer", "extra"], model) as found:
        read = [
            torch.load(found / f"{part}_world_size_{world}_rank_{rank}.pt", weights_only=False)
            for part in ("model", "optim", "extra_state")
        ]
    model.load_state_dict(read[0])
    optimizer.load_state_dict(read[1])
    assert all(isinstance(state["exp_avg"], DTensor) for state in optimizer.state.values())
    _step(model, optimizer, 3)
    assert found == directory or not found.exists()
    return _whole(model), read[2]


WORK = {"train": train_and_save, "load": load_and_train}


def _flat(weights: dict[str, Any]) -> torch.Tensor:
    return torch.cat([torch.tensor(value).flatten() for value in weights.values()])


@pytest.mark.parametrize(("before", "world"), [(1, 2), (2, 1)])
def test_a_step_after_it_is_the_step_of_those_who_wrote_it(before: int, world: int, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    wanted = on_ranks("train", before, tmp_path)[0]
    assert reshard.ranks(tmp_path / "state") == before
    files = sorted(tmp_path.joinpath("state").iterdir())
    for rank, (found, extra) in enumerate(on_ranks("load", world, tmp_path)):
        torch.testing.assert_close(_flat(found), _flat(wanted), rtol=1e-6, atol=1e-6)
        assert extra == rank % before
    assert sorted(tmp_path.joinpath("state").iterdir()) == files  # the state is as it was


def test_a_model_that_is_not_split_over_all_ranks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model_world_size_1_rank_0.pt").write_text("")
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    with reshard.own_part(tmp_path, ["model"], torch.nn.Linear(1, 1)) as found:
        assert found == tmp_path
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    refused = pytest.raises(RunError, match=r"written by 1 ranks, and this run has 2: .*use as many as before")
    with refused, reshard.own_part(tmp_path, ["model"], torch.nn.Linear(1, 1)):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
