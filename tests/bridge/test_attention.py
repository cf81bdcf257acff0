"""Packed dialogues on a CPU: the losses and gradients of dialogues that stand alone, for every kind of attention."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from cpu_engine import VOCABULARY, actor_config, configured, dialogues, distance, train, training_rows, verl_rows

from rmft_verl.bridge import verl_config
from rmft_verl.bridge.training import attention
from rmft_verl.bridge.training.batches import training_batch
from rmft_verl.bridge.verl_config import PACKED
from rmft_verl.env.tokens import Budget
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import RunError, Tokens

pytestmark = pytest.mark.usefixtures("process")

WINDOW = 5
"""Tokens that a sliding layer sees: fewer than a dialogue has."""

FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen3": {"head_dim": 8},
    "Mistral": {"sliding_window": WINDOW},
    "Phi3": {"sliding_window": WINDOW, "pad_token_id": 0},
    "Gemma3Text": {"sliding_window": WINDOW, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "Gemma2": {"sliding_window": WINDOW, "head_dim": 8, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8},
}
"""Each is compared with transformers' eager attention, which also caps the scores of Gemma 2."""


def model_of(family: str, implementation: str, **changes: Any) -> Any:
    """A random model in float32, the same for every implementation."""
    name = family.removesuffix("Text")
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        **(FAMILIES[family] | changes),
    )
    torch.manual_seed(0)
    config._attn_implementation = implementation
    return getattr(transformers, f"{name}ForCausalLM")(config).float()


def rows_of(loss: str, samples: list[Tokens], old: list[torch.Tensor]) -> Any:
    """verl's batch, under log-probabilities that are not the model's own."""
    if loss != "grpo":
        return training_rows(configured(loss=loss), samples, old=old)
    advantages = [np.random.default_rng(i).normal(size=len(each.mask_N)) for i, each in enumerate(samples)]
    return training_batch(configured(loss=loss), samples, {"advantages": advantages}, old)


@pytest.mark.parametrize("loss", ["sft", "dpo", "grpo"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_those_of_padded_rows(family: str, loss: str) -> None:
    samples, padded = dialogues(6), model_of(family, "eager")
    with torch.no_grad():
        old = [row - 0.1 for row in verl_rows(padded, samples)]
    expected = train(padded, rows_of(loss, samples, old), actor_config())
    found = train(model_of(family, PACKED), rows_of(loss, samples, old), actor_config(), packed=True)
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-6)
    assert distance(found[1], expected[1]) < 1e-5
    assert found[2] == pytest.approx(expected[2], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_what_the_families_have_beside_causal_attention_matters(packed: bool) -> None:
    """Without its window, or the cap on its scores, a model has other losses: the test above sees them."""
    samples = dialogues(6)
    for family, key in (("Mistral", "sliding_window"), ("Gemma2", "attn_logit_softcapping")):
        model = model_of(family, PACKED)
        whole = train(model, training_rows(configured(), samples), packed=packed)
        without = model_of(family, PACKED, **{key: None})
        assert abs(train(without, training_rows(configured(), samples), packed=packed)[0] - whole[0]) > 1e-4


def test_padded_rows_of_this_attention_are_exact_too() -> None:
    samples = dialogues(6)
    expected = train(model_of("Gemma3Text", "eager"), training_rows(configured(), samples))
    found = train(model_of("Gemma3Text", PACKED), training_rows(configured(), samples))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert distance(found[1], expected[1]) < 1e-5


def test_no_dialogue_meets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is called once a dialogue and layer, without a mask."""
    calls: list[tuple[int, bool]] = []
    kernel = attention.scaled_dot_product_attention

    def noted(query: torch.Tensor, *inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        calls.append((query.shape[2], options["attn_mask"] is None and options["is_causal"]))
        return kernel(query, *inputs, **options)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", noted)
    samples = dialogues(3)
    train(model_of("Llama", PACKED), training_rows(configured(), samples), packed=True)
    assert sorted(calls) == sorted([(len(each.ids_N), True) for each in samples] * 2)


def test_what_it_would_leave_out_is_refused() -> None:
    layer, query = torch.nn.Identity(), torch.zeros(1, 2, 4, 8)
    with pytest.raises(RunError, match=r"sinks.*use_remove_padding=false"):
        attention.attend(layer, query, query, query, None, s_aux=torch.zeros(2))
    with pytest.raises(RunError, match=r"positions.*use_remove_padding=false"):
        attention.attend(layer, query, query, query, None)


@pytest.mark.parametrize(("kind", "flash", "own"), [("cpu", True, True), ("cuda", True, False), ("cuda", False, True)])
def test_a_run_packs_on_every_device(kind: str, flash: bool, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """flash-attn where it can be used, on a GPU that has it, else the attention above."""
    found = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: flash or None))
    monkeypatch.setattr(verl_config, "importlib", found)
    config = load_config(["recipe=mab_tiny"])
    keys = verl_config.derive(config, kind, str(tiny_path("mab")), Budget(100, 100, 4, 10, 4))
    assert keys["actor_rollout_ref.model.use_remove_padding"]
    chosen = keys.get("+actor_rollout_ref.model.override_config.attn_implementation")
    assert chosen == (PACKED if own else None)
