"""The canary's judgment on written-out numbers; the real one runs in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rmft_verl.bridge.backend import StaleSamplerError
from rmft_verl.bridge.training.canary import judge, read_probe, write_probe
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


def test_old_weights_stop_the_run_even_within_the_tolerance() -> None:
    with pytest.raises(StaleSamplerError, match="delivered nothing"):
        judge(NEW, OLD, OLD, tolerance=0.5, version=2)


def test_an_update_smaller_than_the_rounding_is_no_proof_of_old_weights() -> None:
    """bfloat16 rounds the trainer's new log-probabilities by more than the update moved them."""
    now, before = [torch.tensor([-1.3998, -0.0046])], [torch.tensor([-1.3438, -0.0078])]
    seen = [torch.tensor([-1.3663, -0.0046])]  # 0.0128 from before, 0.0167 from now
    assert judge(now, seen, before, tolerance=0.05, version=3)["sync/canary"] == pytest.approx(0.01675, abs=1e-5)
    with pytest.raises(StaleSamplerError, match="delivered nothing"):
        judge(now, [torch.tensor([-1.3540, -0.0078])], before, tolerance=0.05, version=3)


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
