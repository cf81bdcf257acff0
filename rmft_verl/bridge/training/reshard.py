"""A state of the trainer for another number of ranks than has written it: each takes its own rows of every tensor."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DeviceMesh, DTensor, Shard

from rmft_verl.types import RunError

NAMES = {"model": "model", "optimizer": "optim", "extra": "extra_state"}
"""verl's name of a part of a state -> how its files begin."""


def ranks(directory: Path) -> int:
    """The number of ranks that have written a state."""
    return len(list(directory.glob("model_world_size_*_rank_*.pt")))


def _file(directory: Path, part: str, world: int, rank: int) -> Path:
    return directory / f"{NAMES[part]}_world_size_{world}_rank_{rank}.pt"


@contextmanager
def own_part(directory: Path, parts: Sequence[str], module: torch.nn.Module) -> Iterator[Path]:
    """A directory from which this rank can load ``parts``: ``directory``, or a temporary one with its files alone.

    Raises ``RunError`` for tensors that are not split into rows over all ranks.
    """
    before, world, rank = ranks(directory), torch.distributed.get_world_size(), torch.distributed.get_rank()
    if before == world:
        yield directory
        return
    mesh = next((value.device_mesh for value in module.parameters() if isinstance(value, DTensor)), None)
    if mesh is None or mesh.shape != (world,):
        raise RunError(
            f"{directory} was written by {before} ranks, and this run has {world}: with a strategy or an fsdp_size of "
            "your own (verl.*), use as many as before"
        )
    own = Path(tempfile.mkdtemp(prefix="rmft_verl_part_"))
    try:
        for part in parts:
            if part == "extra":  # schedule and generators, from which training draws nothing
                shutil.copyfile(_file(directory, part, before, rank % before), _file(own, part, world, rank))
                continue
            read = [  # mapped, so that only this rank's rows are read
                torch.load(_file(directory, part, before, i), map_location="cpu", mmap=True, weights_only=True)
                for i in range(before)
            ]
            torch.save(split_anew(read, mesh, rank), _file(own, part, world, rank))
        yield own
    finally:
        shutil.rmtree(own)


def split_anew(read: Sequence[Any], mesh: DeviceMesh, rank: int) -> Any:
    """Of what each of the former ranks has written, the same tree with the rows of ``rank``.

    Raises ``RunError`` for a tensor that was not split into rows over all former ranks.
    """
    first = read[0]
    if isinstance(first, Mapping):
        return {key: split_anew([each[key] for each in read], mesh, rank) for key in first}
    if not isinstance(first, DTensor):
        return first  # the same on every rank: steps taken, settings
    if first.placements != (Shard(0),):
        raise RunError(f"a state with tensors in {first.placements} is loaded by as many ranks as wrote it")
    rows = own_rows([each.to_local() for each in read], rank, mesh.size()).to(mesh.device_type)
    return DTensor.from_local(rows, mesh, first.placements, run_check=False, shape=first.shape, stride=first.stride())


def own_rows(pieces: Sequence[torch.Tensor], rank: int, world: int) -> torch.Tensor:
    """The rows that ``rank`` of ``world`` gets of a tensor in ``pieces``: as many as any other, the last ones fewer."""
    total = sum(len(piece) for piece in pieces)
    most = -(-total // world)
    begin, end = min(rank * most, total), min((rank + 1) * most, total)
    found, place = [], 0
    for piece in pieces:
        found.append(piece[max(0, begin - place) : max(0, end - place)])
        place += len(piece)
    return torch.cat(found)
