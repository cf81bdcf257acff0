"""Optimizer steps as verl's own loop makes them: its split over GPUs, its iterator, its micro-batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from verl.utils import tensordict_utils as tu
from verl.workers.engine.utils import prepare_micro_batches

from rmft_verl.bridge.training.batches import training_batch
from rmft_verl.bridge.training.steps import cut, draw, entries, order, outcome
from rmft_verl.config import Config
from rmft_verl.types import RunError, Tokens


@pytest.mark.parametrize(
    ("n", "batch", "world", "together", "expected"),
    [
        (100, 32, 1, 1, (33, 3)),
        (100, 32, 4, 1, (32, 3)),
        (20, 64, 4, 1, (20, 1)),
        (100, 32, 1, 2, (32, 3)),
        (100, 32, 8, 2, (32, 3)),
        (46, 16, 2, 2, (12, 3)),
    ],
)
def test_a_step_is_near_the_batch_and_whole_on_every_gpu(
    n: int, batch: int, world: int, together: int, expected: tuple[int, int]
) -> None:
    assert cut(n, batch, world, together) == expected


def test_too_few_samples_for_the_gpus_stop_the_run() -> None:
    with pytest.raises(RunError, match="only 7 valid samples were kept for 4 GPUs"):
        cut(7, 64, world=4, together=2)


def test_samples_are_drawn_without_replacement_and_pairs_stay_whole() -> None:
    drawn = draw(20, 12, together=2, seed=0)
    assert len(set(drawn.tolist())) == 12 and max(drawn) < 20
    assert (drawn[0::2] % 2 == 0).all() and (drawn[1::2] == drawn[0::2] + 1).all()
    assert sorted(draw(9, 9, together=1, seed=0)) == list(range(9))
    assert draw(20, 12, 2, seed=0).tolist() == drawn.tolist() != draw(20, 12, 2, seed=1).tolist()


def pairs(n: int) -> Any:
    """Row i holds the number i alone, in dialogues of very different lengths."""
    lengths = np.random.default_rng(0).integers(4, 60, size=2 * n)
    samples = [Tokens(np.full(size, i), np.arange(size) > 1, 2) for i, size in enumerate(lengths)]
    return training_batch(Config(), samples, {"number": [float(i) for i in range(2 * n)]})


def micro_batches(batch: Any, world: int, most_tokens: int, dynamic: bool) -> list[list[list[list[list[int]]]]]:
    """Row numbers by GPU, step and micro-batch, through the calls that verl's dispatch and training loop make."""
    found = []
    for part in tu.chunk_tensordict(batch, world):
        size, epochs, options = (tu.pop(part, key) for key in ("mini_batch_size", "epochs", "dataloader_kwargs"))
        steps = []
        for step in tu.make_iterator(part, size // world, epochs, 42, options):
            tu.assign_non_tensor(
                step, use_dynamic_bsz=dynamic, max_token_len_per_gpu=most_tokens, micro_batch_size_per_gpu=1
            )
            split, _ = prepare_micro_batches(step)
            for micro in split:
                rows = [int(row[0]) for row in micro["input_ids"].unbind()]
                assert micro["number"].tolist() == rows  # what belongs to a row came with it
            steps.append([[int(row[0]) for row in micro["input_ids"].unbind()] for micro in split])
        found.append(steps)
    return found


def arranged(n: int, world: int, together: int, epochs: int, size: int) -> Any:
    """The batch of ``pairs`` as an update gives it to verl."""
    rows = order(2 * n, size, world, together, epochs, seed=5)
    batch = tu.index_select_tensor_dict(pairs(n), torch.from_numpy(rows))
    tu.assign_non_tensor(batch, **entries(size, together))
    return batch


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("world", "most_tokens"), [(1, 10_000), (1, 130), (2, 130), (3, 120)])
def test_pairs_stay_together_in_every_micro_batch(world: int, most_tokens: int, dynamic: bool) -> None:
    by_gpu = micro_batches(arranged(18, world, together=2, epochs=2, size=12), world, most_tokens, dynamic)
    for steps in by_gpu:
        assert len(steps) == 6
        for rows in (rows for step in steps for rows in step):
            pairs = list(zip(rows[0::2], rows[1::2], strict=True))
            assert all(chosen % 2 == 0 and rejected == chosen + 1 for chosen, rejected in pairs)
    if dynamic and most_tokens < 10_000:
        assert any(len(step) > 1 for steps in by_gpu for step in steps)


@pytest.mark.parametrize("together", [1, 2])
def test_a_step_has_the_same_samples_on_any_number_of_gpus(together: int) -> None:
    """Every sample once an epoch, in other company in the next."""
    of_world = []
    for world in (1, 2, 3):
        by_gpu = micro_batches(arranged(18, world, together, epochs=2, size=12), world, 10_000, dynamic=True)
        whole = [sorted(row for steps in by_gpu for rows in steps[n] for row in rows) for n in range(6)]
        of_world.append(whole)
        for epoch in (whole[:3], whole[3:]):
            assert sorted(row for step in epoch for row in step) == list(range(36))
        assert sorted(whole[:3]) != sorted(whole[3:])
    assert of_world[0] == of_world[1] == of_world[2]


def test_outcome_reads_verls_lists() -> None:
    metrics = {"loss": [2.0, 1.0], "grad_norm": [3.0, torch.tensor(5.0)], "perf/max_memory_allocated_gb": [0.0, 0.5]}
    assert outcome(metrics) == {
        "update/loss": 1.5,
        "update/loss_first": 2.0,
        "update/loss_last": 1.0,
        "update/grad_norm": 4.0,
        "update/steps": 2.0,
        "update/gpu_memory_gib": 0.5,
    }
    with pytest.raises(RunError, match="is not finite"):
        outcome(metrics | {"loss": [2.0, float("nan")]})
    with pytest.raises(RunError, match="is not finite"):
        outcome(metrics | {"grad_norm": [float("inf"), 1.0]})
