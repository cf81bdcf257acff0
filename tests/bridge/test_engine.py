"""Logits at the marked positions only: verl's own engine is the reference, to the last bits of float32."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import configured, dialogues, distance, gradients, make_engine, small_model, training_rows
from verl.utils import tensordict_utils as tu
from verl.utils.experimental import torch_functional as functional
from verl.workers.config import FSDPOptimizerConfig
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from rmft_verl.bridge.training import engine as engine_module
from rmft_verl.bridge.training.batches import plain_batch
from rmft_verl.bridge.training.engine import DialogueEngine
from rmft_verl.bridge.verl_config import derive
from rmft_verl.env.tokens import Budget
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.recipe import load_config

pytestmark = pytest.mark.usefixtures("process")

BUDGET = Budget(100, 100, 4, 10, 4)
SAMPLES = dialogues(4)
BATCHES = {
    "sft": lambda: training_rows(configured(), SAMPLES),
    "dpo": lambda: training_rows(configured(loss="dpo"), SAMPLES),
    "plain": lambda: plain_batch(SAMPLES, 0.7),
    "one row": lambda: training_rows(configured(), SAMPLES[:1]),
}


def outputs(engine: Any, batch: Any, packed: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the engine makes of the batch at the marked positions, and the gradient of its sum."""
    tu.assign_non_tensor(batch, use_remove_padding=packed, use_fused_kernels=False, calculate_entropy=True)
    inputs, arguments = engine.prepare_model_inputs(batch)
    made = engine.prepare_model_outputs(engine.module(**inputs, use_cache=False), arguments, batch, None)
    marked_N = marks(batch).roll(-1)
    found = {key: made[key].values() * marked_N for key in ("log_probs", "entropy")}
    engine.module.zero_grad()
    sum(value.sum() for value in found.values()).backward()
    return {key: value.detach() for key, value in found.items()}, gradients(engine.module)


def marks(batch: Any) -> torch.Tensor:
    return batch["sampled_mask" if "sampled_mask" in batch else "loss_mask"].values()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BATCHES)
def test_outputs_and_gradients_are_those_of_verl(name: str, packed: bool) -> None:
    expected, expected_gradient = outputs(make_engine(FSDPEngineWithLMHead, small_model()), BATCHES[name](), packed)
    engine = make_engine(DialogueEngine, small_model())
    engine.watch(engine.module)
    rows: list[int] = []
    engine.module.lm_head.register_forward_hook(lambda head, inputs, output: rows.append(output.shape[1]))
    found, gradient = outputs(engine, BATCHES[name](), packed)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
    assert distance(gradient, expected_gradient) < 1e-5
    marked_N = marks(BATCHES[name]())
    assert rows == [marked_N.sum()] and rows[0] < len(marked_N)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BATCHES)
def test_logits_in_chunks_give_the_same(name: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, expected_gradient = outputs(make_engine(FSDPEngineWithLMHead, small_model()), BATCHES[name](), packed)
    monkeypatch.setattr(engine_module, "AT_ONCE", 8)
    monkeypatch.setattr(engine_module, "CHUNK", 5)
    engine = make_engine(DialogueEngine, small_model())
    engine.watch(engine.module)
    rows: list[int] = []
    forward = functional._fused_linear_for_ppo_fwd

    def noted(hidden_states: torch.Tensor, **options: Any) -> Any:
        rows.append(len(hidden_states))
        return forward(hidden_states, **options)

    monkeypatch.setattr(functional, "_fused_linear_for_ppo_fwd", noted)
    found, gradient = outputs(engine, BATCHES[name](), packed)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
    assert distance(gradient, expected_gradient) < 1e-5
    assert sum(rows) == marks(BATCHES[name]()).sum() and max(rows) == 5


def test_a_model_that_scales_its_logits_computes_them_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "AT_ONCE", 8)
    monkeypatch.setattr(engine_module, "CHUNK", 5)
    engine = make_engine(DialogueEngine, small_model())
    engine.module.config.final_logit_softcapping = 30.0
    engine.watch(engine.module)
    batch = BATCHES["sft"]()
    tu.assign_non_tensor(batch, use_remove_padding=True, use_fused_kernels=False, calculate_entropy=True)
    engine.prepare_model_inputs(batch)
    assert engine._marked_B_S is not None and engine._chunked is None


def test_a_batch_without_a_marked_token_has_a_gradient_of_zero() -> None:
    engine = make_engine(DialogueEngine, small_model())
    engine.watch(engine.module)
    batch = training_rows(configured(), [dataclasses.replace(SAMPLES[0], mask_N=np.zeros_like(SAMPLES[0].mask_N))])
    found, gradient = outputs(engine, batch, packed=False)
    assert not gradient.any()
    assert not found["log_probs"].any()


def test_the_rate_rises_over_optimizer_steps_and_a_resumed_run_goes_on() -> None:
    keys = derive(load_config(["recipe=mab_tiny", "update.warmup=4"]), "cpu", str(tiny_path("mab")), BUDGET)
    steps = keys["actor_rollout_ref.actor.optim.lr_warmup_steps"]
    assert rates(steps, 6) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert rates(0, 2) == pytest.approx([1, 1])
    assert rates(steps, 6, interrupted=2) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def rates(warmup: int, steps: int, interrupted: int = 0) -> list[float]:
    """The distance of every step of Adam down a slope, which is its rate; the state is stored and loaded on the way."""
    engine, distances = make_stepper(warmup), []
    for step in range(steps):
        if step == interrupted:
            before, engine = engine, make_stepper(warmup)
            engine.optimizer.load_state_dict(before.optimizer.state_dict())
        weight = engine.module.weight
        at, weight.grad = weight.item(), torch.ones_like(weight)
        engine.optimizer_step()
        engine.lr_scheduler_step()
        distances.append(at - weight.item())
    return distances


def make_stepper(warmup: int) -> Any:
    engine = make_engine(DialogueEngine, torch.nn.Linear(1, 1, bias=False))
    engine.optimizer = torch.optim.AdamW(engine.module.parameters(), lr=1.0, weight_decay=0.0, eps=0.0)
    engine.optimizer_config = FSDPOptimizerConfig(lr=1.0, lr_warmup_steps=warmup, total_training_steps=7, clip_grad=1.0)
    engine.lr_scheduler, engine.rank, engine._qat_enabled = None, 0, False
    engine.lr_scheduler = engine._build_lr_scheduler(engine.optimizer)
    return engine


def test_verl_makes_this_engine_in_our_worker() -> None:
    assert {EngineRegistry._engines["language_model"][name]["cuda"] for name in ("fsdp", "fsdp2")} == {DialogueEngine}
