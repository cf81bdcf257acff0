"""SFT through verl's engine against transformers' own cross-entropy: loss and gradient, to 1e-5."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import configured, dialogues, distance, gradient_of, small_model, train, training_rows, verl_rows
from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import sft_loss

from rmft_verl.types import Tokens

pytestmark = pytest.mark.usefixtures("process")

BY_TOKEN, BY_PLAY = configured(), configured(weighting="trajectory")


def last_two_of_each_reply(tokens: Tokens) -> Tokens:
    """A mask as ``action_only`` makes it: the ends of the replies."""
    mask_N = tokens.mask_N.copy()
    ends = np.flatnonzero(np.diff(mask_N, append=0) == -1)
    mask_N[:] = 0
    mask_N[ends] = mask_N[ends - 1] = 1
    return dataclasses.replace(tokens, mask_N=mask_N)


def masked(train_on: str) -> list[Tokens]:
    samples = dialogues(6)
    return samples if train_on == "reply" else [last_two_of_each_reply(tokens) for tokens in samples]


def cross_entropy(model: Any, tokens: Tokens) -> torch.Tensor:
    """The mean over the tokens of the mask, from transformers' own loss."""
    ids = torch.tensor(tokens.ids_N, dtype=torch.long)[None]
    return model(ids, labels=ids.masked_fill(torch.tensor(tokens.mask_N)[None] == 0, -100)).loss


@pytest.mark.parametrize("train_on", ["reply", "action"])
@pytest.mark.parametrize("most_tokens", [10_000, 70])
def test_every_token_counts_alike(train_on: str, most_tokens: int) -> None:
    model, samples = small_model(), masked(train_on)
    counts = torch.tensor([float(tokens.mask_N.sum()) for tokens in samples])
    expected = (torch.stack([cross_entropy(model, tokens) for tokens in samples]) * counts).sum() / counts.sum()
    gradient = gradient_of(model, expected)
    loss, found, _, n_micro = train(model, training_rows(BY_TOKEN, samples), most_tokens=most_tokens)
    assert (n_micro > 1) == (most_tokens == 70)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert distance(found, gradient) < 1e-5


@pytest.mark.parametrize("train_on", ["reply", "action"])
@pytest.mark.parametrize("most_tokens", [10_000, 70])
def test_every_trajectory_counts_alike(train_on: str, most_tokens: int) -> None:
    model, samples = small_model(), masked(train_on)
    expected = torch.stack([cross_entropy(model, tokens) for tokens in samples]).mean()
    gradient = gradient_of(model, expected)
    batch = training_rows(BY_PLAY, samples)
    loss, found, _, n_micro = train(model, batch, most_tokens=most_tokens)
    assert (n_micro > 1) == (most_tokens == 70)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert distance(found, gradient) < 1e-5


def test_a_play_of_several_samples_counts_as_one() -> None:
    """Plays of three, one and two samples: each is the mean of its samples' means."""
    model, samples = small_model(), dialogues(6)
    means = torch.stack([cross_entropy(model, tokens) for tokens in samples])
    expected = (means[:3].mean() + means[3] + means[4:].mean()) / 3
    gradient = gradient_of(model, expected)
    batch = training_rows(BY_PLAY, samples, plays=[7, 7, 7, 2, 5, 5])
    assert batch["weight"].mean().item() == pytest.approx(1)
    loss, found, *_ = train(model, batch)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert distance(found, gradient) < 1e-5


def test_the_weightings_differ() -> None:
    """What the tests above compare is not one number."""
    model, samples = small_model(), dialogues(6)
    first, second = (train(model, training_rows(each, samples))[0] for each in (BY_TOKEN, BY_PLAY))
    assert abs(first - second) > 1e-3 * first


def test_the_loss_is_that_of_verls_own_sft() -> None:
    model, samples = small_model(), dialogues(6)
    batch = training_rows(BY_TOKEN, samples)
    found = train(model, batch)
    log_probs = torch.nested.nested_tensor_from_jagged(
        torch.cat(verl_rows(model, samples)), batch["input_ids"].offsets()
    )
    tu.assign_non_tensor(batch, dp_size=1, batch_num_tokens=int(batch["loss_mask"].values().sum()))
    theirs, _ = sft_loss(None, {"log_probs": log_probs}, batch)
    assert found[0] == pytest.approx(theirs.item(), rel=1e-6)
    assert distance(found[1], gradient_of(model, theirs)) < 1e-5
