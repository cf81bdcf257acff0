"""The canary's judgment on written-out numbers; the real one runs in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmft_verl.bridge.backend import StaleSamplerError
from rmft_verl.bridge.training.canary import judge, read_probe, slope, write_probe
from rmft_verl.types import Tokens

NEW = [torch.tensor([-1.0, -2.0]), torch.tensor([-0.5])]
OLD = [torch.tensor([-1.1, -2.1]), torch.tensor([-0.6])]


def test_equal_weights_pass_and_the_gap_is_reported() -> None:
    sampler = [torch.tensor([-1.003, -2.0]), torch.tensor([-0.5])]
    metrics = judge(NEW, sampler, OLD, tolerance=0.05, version=1)
    assert metrics["sync/canary"] == pytest.approx(0.001, abs=1e-6)
    assert metrics["sync/moved"] == pytest.approx(0.1, abs=1e-6)


def test_other_weights_stop_the_run() -> None:
    with pytest.raises(StaleSamplerError, match=r"differ by 0\.1000 nats.*canary_tolerance=0\.05"):
        judge(NEW, OLD, None, tolerance=0.05, version=0)


def rounded(rounding: float, step: float, stale: bool, n: int = 200, seed: int = 0) -> list[list[torch.Tensor]]:
    """Log-probabilities of trainer, sampler and trainer before. Each rounds, the less likely token the more, and the
    sampler also errs in one direction.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(size: float) -> torch.Tensor:
        return torch.randn(n, generator=generator) * size

    true = -2 * torch.rand(n, generator=generator)
    moved, scale = noise(step), 0.2 + true.abs()
    before, now = true + noise(rounding) * scale, true + moved + noise(rounding) * scale
    seen = true + (0 if stale else moved) + noise(rounding) * scale + rounding * 0.5 * true
    return [[now], [seen], [before]]


@given(
    rounding=st.floats(0, 0.05),
    step=st.floats(-4, 0).map(lambda power: 10**power),
    seed=st.integers(0, 2**32 - 1),
)
def test_old_weights_stop_the_run_and_new_ones_never_do(rounding: float, step: float, seed: int) -> None:
    """Old weights are always recognized where the update is twice the rounding; where it is less nothing is claimed."""
    passed = judge(*rounded(rounding, step, stale=False, seed=seed), tolerance=10, version=2)
    assert passed["sync/slope"] > 0.5 - 5 * passed["sync/slope_error"]
    if step > 4 * rounding:
        assert passed["sync/slope"] == pytest.approx(1, abs=0.2) and passed["sync/slope_error"] < 0.1
    stale = rounded(rounding, step, stale=True, seed=seed)
    if step > 4 * rounding:
        with pytest.raises(StaleSamplerError, match="weights before the update"):
            judge(*stale, tolerance=10, version=2)
    elif step < rounding / 20:
        unsure = judge(*stale, tolerance=10, version=2)
        assert unsure["sync/slope"] == pytest.approx(0.5, abs=0.3)


def test_the_slope_and_its_error_are_those_of_a_regression_with_a_constant() -> None:
    """Against numpy's least squares and the sandwich formula, written out."""
    (now,), (seen,), (before,) = rounded(0.02, 0.05, stale=False)
    x, y = (now - before).double().numpy(), (seen - before).double().numpy()
    design = np.stack([np.ones_like(x), x], axis=1)
    bread = np.linalg.inv(design.T @ design)
    coefficients = bread @ design.T @ y
    residuals = y - design @ coefficients
    variance = bread @ (design.T * residuals**2) @ design @ bread * len(x) / (len(x) - 2)
    assert slope(now, before, seen) == pytest.approx((coefficients[1], variance[1, 1] ** 0.5), rel=1e-9)


def test_a_few_tokens_or_an_update_that_moves_nothing_tell_nothing() -> None:
    assert judge(NEW, OLD, OLD, tolerance=0.5, version=2).keys() == {"sync/canary", "sync/moved"}
    same = [torch.linspace(-2, 0, 100)]
    assert judge(same, same, same, tolerance=0.5, version=2) == {"sync/canary": 0.0, "sync/moved": 0.0}


def test_a_sampler_that_says_nan_stops_the_run() -> None:
    with pytest.raises(StaleSamplerError):
        judge(NEW, [torch.tensor([float("nan"), -2.0]), torch.tensor([-0.5])], None, tolerance=0.05, version=0)


@pytest.mark.parametrize("before", [None, OLD])
def test_what_the_next_proof_needs_is_kept(tmp_path: Path, before: list[torch.Tensor] | None) -> None:
    first = Tokens(np.array([5, 6, 7], np.int32), np.array([0, 1, 1], np.int8), 1)
    second = Tokens(np.array([5, 8], np.int32), np.array([0, 1], np.int8), 1)
    write_probe(tmp_path / "probe.npz", [first, second], before)
    probe, found = read_probe(tmp_path / "probe.npz")
    for kept, tokens in zip(probe, [first, second], strict=True):
        assert kept.prompt_length == tokens.prompt_length
        for name in ("ids_N", "mask_N"):
            np.testing.assert_array_equal(getattr(kept, name), getattr(tokens, name), strict=True)
    assert (found is None) == (before is None)
    assert before is None or found is None or all(torch.equal(a, b) for a, b in zip(found, before, strict=True))
