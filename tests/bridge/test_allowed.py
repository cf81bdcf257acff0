"""Log-probabilities among the tokens that structured decoding allowed: transformers with masked logits is the
reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import (
    VOCABULARY,
    configured,
    dialogues,
    distance,
    gradient_of,
    gradients,
    make_engine,
    small_model,
    train,
    training_rows,
)
from hypothesis import given
from hypothesis import strategies as st
from verl.utils import tensordict_utils as tu

from rmft_verl.bridge.training import engine as engine_module
from rmft_verl.bridge.training.allowed import ALLOWED, packed, unpacked
from rmft_verl.bridge.training.batches import plain_batch
from rmft_verl.bridge.training.engine import DialogueEngine
from rmft_verl.types import Tokens

pytestmark = pytest.mark.usefixtures("process")


def restricted(samples: Sequence[Tokens], share: float, seed: int = 0) -> list[Tokens]:
    """The samples with a ``share`` of their sampled tokens drawn among 2 to 6 ids."""
    rng = np.random.default_rng(seed)

    def allowed(tokens: Tokens) -> dict[int, tuple[int, ...]]:
        places = [place for place in np.flatnonzero(tokens.sampled_N).tolist() if rng.random() < share]
        others = {place: rng.choice(VOCABULARY, size=rng.integers(1, 6), replace=False) for place in places}
        return {place: tuple(sorted({*ids.tolist(), int(tokens.ids_N[place])})) for place, ids in others.items()}

    return [dataclasses.replace(tokens, allowed=allowed(tokens)) for tokens in samples]


def reference(model: Any, tokens: Tokens, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every token but the first, all logits of forbidden tokens at minus infinity."""
    ids = torch.tensor(tokens.ids_N, dtype=torch.long)
    logits = model(ids[None]).logits[0, :-1] / temperature
    forbidden = torch.zeros_like(logits, dtype=torch.bool)
    for place, among in tokens.allowed.items():
        forbidden[place - 1] = True
        forbidden[place - 1, list(among)] = False
    logprobs = logits.masked_fill(forbidden, float("-inf")).log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs.masked_fill(forbidden, 0.0)).sum(-1)
    return logprobs.gather(1, ids[1:, None])[:, 0], entropy


@given(
    st.dictionaries(
        st.integers(1, 2**31 - 1), st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=9).map(tuple), max_size=9
    )
)
def test_a_row_is_read_as_it_was_packed(allowed: dict[int, tuple[int, ...]]) -> None:
    assert unpacked(packed(allowed)) == {place: list(ids) for place, ids in allowed.items()}


@pytest.mark.parametrize("packed_rows", [False, True])
@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("head", ["bare", "in chunks", "scaled"])
def test_outputs_and_gradients_are_those_of_masked_logits(
    head: str, share: float, packed_rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [*restricted(dialogues(4), share), *dialogues(1, seed=5)]  # one is free
    engine = make_engine(DialogueEngine, small_model())
    if head == "scaled":  # the logits are then not those of the head alone
        engine.module.config.final_logit_softcapping = 30.0
    if head == "in chunks":
        monkeypatch.setattr(engine_module, "AT_ONCE", 8)
        monkeypatch.setattr(engine_module, "CHUNK", 5)
    engine.watch(engine.module)
    batch = plain_batch(samples, 0.7)
    tu.assign_non_tensor(batch, use_remove_padding=packed_rows, use_fused_kernels=False, calculate_entropy=True)
    inputs, arguments = engine.prepare_model_inputs(batch)
    assert (engine._chunked is None) == (head == "scaled")
    made = engine.prepare_model_outputs(engine.module(**inputs, use_cache=False), arguments, batch, None)
    engine.module.zero_grad()
    (made["log_probs"].values().sum() + made["entropy"].values().sum()).backward()
    found = gradients(engine.module)
    model, total = small_model(), torch.tensor(0.0)
    for tokens, logprobs_N, entropy_N in zip(
        samples, *(made[key].unbind() for key in ("log_probs", "entropy")), strict=True
    ):
        sampled = torch.tensor(tokens.sampled_N)[1:]
        for ours_N, theirs_N in zip((logprobs_N, entropy_N), reference(model, tokens, 0.7), strict=True):
            torch.testing.assert_close(ours_N[:-1][sampled], theirs_N[sampled], rtol=1e-5, atol=1e-5)
            assert not ours_N[:-1][~sampled].any()
            total = total + theirs_N[sampled].sum()
    assert distance(found, gradient_of(model, total)) < 1e-5


@pytest.mark.parametrize("most_tokens", [90, 10_000])
def test_the_loss_is_that_of_the_policy_that_plays(most_tokens: int) -> None:
    samples = restricted(dialogues(6), 0.5)
    model = small_model()
    found, gradient, _, parts = train(
        model, training_rows(configured(), samples, temperature=2.0), most_tokens=most_tokens
    )
    assert (parts > 1) == (most_tokens == 90)
    rows = [reference(model, tokens, 2.0)[0][torch.tensor(tokens.sampled_N)[1:]] for tokens in samples]
    expected = -torch.cat(rows).mean()
    assert float(found) == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradient, gradient_of(model, expected)) < 1e-5


def test_a_token_that_is_not_trained_on_costs_nothing() -> None:
    """``update.train_on=action`` takes tokens out of the mask; what was allowed at them stays on record."""
    (tokens,) = restricted(dialogues(1), 1.0)
    mask_N = tokens.mask_N.copy()
    mask_N[np.flatnonzero(mask_N)[::2]] = 0
    less = dataclasses.replace(tokens, mask_N=mask_N)
    kept = dataclasses.replace(less, allowed={n: ids for n, ids in tokens.allowed.items() if mask_N[n]})
    model = small_model()
    assert train(model, training_rows(configured(), [less]))[0] == train(model, training_rows(configured(), [kept]))[0]


def test_a_batch_without_structure_has_no_such_row() -> None:
    assert ALLOWED not in plain_batch(dialogues(2), 1.0)
