"""The canary's judgment on written-out numbers; the real one runs in tests/e2e."""

from __future__ import annotations

import pytest
import torch

from rmft_verl.backend import StaleSamplerError
from rmft_verl.bridge.canary import judge

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


def test_old_weights_stop_the_run_even_within_the_tolerance() -> None:
    with pytest.raises(StaleSamplerError, match="delivered nothing"):
        judge(NEW, OLD, OLD, tolerance=0.5, version=2)


def test_a_sampler_that_says_nan_stops_the_run() -> None:
    with pytest.raises(StaleSamplerError):
        judge(NEW, [torch.tensor([float("nan"), -2.0]), torch.tensor([-0.5])], None, tolerance=0.05, version=0)
