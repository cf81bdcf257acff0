"""Seeded sampling on a CPU: the model's distribution, one number of the request's own generator a token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from rmft_verl.bridge.cluster.cpu_sampler import draw
from rmft_verl.types import content_hash


def generators(n: int, start: int = 0) -> dict[int, torch.Generator]:
    """As vLLM makes them: one a request, of the seed that a play gives a reply."""
    seeds = [int(content_hash([start, i])[:8], 16) for i in range(n)]
    return {i: torch.Generator().manual_seed(seed) for i, seed in enumerate(seeds)}


def test_it_draws_from_the_softmax_over_first_numbers_of_many_seeds() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, float("-inf"), 0.0, -2.0, float("-inf")])
    n = 20_000
    drawn = torch.cat([draw(logits.expand(500, -1), generators(500, i)) for i in range(n // 500)])
    counts = torch.bincount(drawn, minlength=7).numpy()
    chances = logits.softmax(-1).numpy().astype(float)
    assert not counts[chances == 0].any()
    some = chances > 0
    assert stats.chisquare(counts[some], n * chances[some] / chances[some].sum()).pvalue > 1e-3


def test_a_row_depends_on_its_own_seed_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 1000, generator=rng)
    together = draw(logits, generators(8))
    apart = [int(draw(logits[i : i + 1], {0: generators(8)[i]})) for i in range(8)]
    assert together.tolist() == apart
    assert together.tolist() == draw(logits, generators(8)).tolist() != draw(logits, generators(8, 1)).tolist()


def test_a_generator_goes_on() -> None:
    """The tokens of one reply: one number each, in turn."""
    own, same = generators(1), generators(1)
    logits = torch.zeros(1, 1000)
    tokens = [int(draw(logits, own)) for _ in range(5)]
    expected = torch.rand(5, generator=same[0], dtype=torch.float64)
    assert tokens == [int(number * 1000) for number in expected] and len(set(tokens)) == 5


@pytest.mark.parametrize("token", [0, 3, 6])
def test_the_only_token_with_a_chance_is_drawn(token: int) -> None:
    logits = torch.full((50, 7), float("-inf"))
    logits[:, token] = 1.0
    assert np.unique(draw(logits, generators(50))).tolist() == [token]
    logits[:] = -100.0
    logits[:, token] = 100.0  # the others have a chance that float32 cannot add
    assert np.unique(draw(logits, generators(50))).tolist() == [token]
