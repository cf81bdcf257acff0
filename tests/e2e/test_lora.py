"""LoRA on the real stack: peft's loss, gradient and step, every sync, resume, export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from rmft_verl.algo.credit import reward
from rmft_verl.bridge.precision import cpu_dtype
from rmft_verl.bridge.shapes import model_shape
from rmft_verl.bridge.training.lora import ADAPTER, merged
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.env.regret import score
from rmft_verl.setup import smollm2
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.types import Batch, RolloutRequest, Scored, Tokens, Trajectory

pytestmark = pytest.mark.e2e

LR, RANK, ALPHA = 2e-3, 4, 8


@pytest.fixture(scope="module", params=["mab_tiny", pytest.param("mab_smollm2", marks=pytest.mark.soak)])
def prepared(request: pytest.FixtureRequest) -> Prepared:
    lora = [f"model.lora.rank={RANK}", f"model.lora.alpha={ALPHA}"]
    options = ["rollout.rollouts=4", "selection.keep=2", "update.batch=8", f"update.lr={LR}", "update.epochs=1"]
    if request.param == "mab_smollm2":
        smollm2.get(smollm2.path())
    options += ["update.warmup=0", "warmup.scenarios=0"]
    return prepare(load_config([f"recipe={request.param}", *lora, *options]))


@pytest.fixture(scope="module")
def backend(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VerlBackend]:
    backend = start_backend(prepared, tmp_path_factory.mktemp("run"))
    backend.sync(0)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def played(prepared: Prepared, backend: VerlBackend) -> list[Trajectory]:
    generator, rng = prepared.env_class.Generator(**prepared.config.env.options), np.random.default_rng(7)  # type: ignore[call-arg]
    games = [generator.draw(rng) for _ in range(2)]
    requests = [RolloutRequest(game, i, 100 * i + j) for i, game in enumerate(games) for j in range(4)]
    return [score(play) for play in backend.rollout(requests, version=0)]


def samples_of(plays: Sequence[Trajectory]) -> list[Tokens]:
    return [tokens for play in plays for tokens in play.tokens]


def adapter_of(backend: VerlBackend, directory: Path) -> dict[str, torch.Tensor]:
    """peft's name -> tensor, as the trainer has it now."""
    backend.save_state(directory)
    state = torch.load(directory / "model_world_size_1_rank_0.pt", weights_only=False)
    assert all("lora_" in name for name in state)  # nothing else is on disk
    return {
        name: getattr(tensor, "full_tensor", lambda tensor=tensor: tensor)().float() for name, tensor in state.items()
    }


def test_loss_gradient_and_step_are_pefts(
    prepared: Prepared, backend: VerlBackend, played: list[Trajectory], tmp_path: Path
) -> None:
    """One step on all eight plays from the same adapter; peft computes in what verl does."""
    before = adapter_of(backend, tmp_path / "before")
    base = AutoModelForCausalLM.from_pretrained(prepared.model_path, dtype=torch.float32)
    told: Any = {"r": RANK, "lora_alpha": ALPHA, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(base, LoraConfig(**told))
    left = model.load_state_dict(before, strict=False)
    assert not left.unexpected_keys and not any("lora_" in name for name in left.missing_keys)
    losses = []
    for tokens in samples_of(played):
        ids = torch.from_numpy(tokens.ids_N.copy()).long()[None]
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_dtype() == "bfloat16"):
            logits = model(ids).logits[0, :-1].float()
        logprobs = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        losses.append(-logprobs[torch.from_numpy(tokens.sampled_N[1:].copy())])
    loss = torch.cat(losses).mean()
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()

    metrics = backend.update(Batch(played, range(len(played))), seed=0)
    assert metrics["update/steps"] == 1
    assert metrics["update/loss"] == pytest.approx(loss.item(), rel=0.02)
    assert metrics["update/grad_norm"] == pytest.approx(norm, rel=0.03)
    after = adapter_of(backend, tmp_path / "after")
    assert after.keys() == before.keys() == gradients.keys()
    signs, steps = [], []
    for name, gradient in gradients.items():  # Adam's first step is the learning rate against the gradient's sign
        clear = gradient.abs() > gradient.abs().median() * 0.5
        signs.append((torch.sign(before[name] - after[name]) == gradient.sign())[clear & (gradient != 0)])
        steps.append((after[name] - before[name]).abs()[clear & (gradient != 0)])
    assert torch.cat(signs).float().mean() > 0.97
    assert torch.cat(steps).median().item() == pytest.approx(LR, rel=0.01)

    passed = backend.sync(1)
    assert passed["sync/canary"] < passed["sync/moved"]


def test_a_resumed_update_is_the_same(
    prepared: Prepared, backend: VerlBackend, played: list[Trajectory], tmp_path: Path
) -> None:
    backend.save_state(tmp_path / "state")
    backend.update(Batch(played, range(len(played))), seed=5)
    once = adapter_of(backend, tmp_path / "once")
    backend.load_state(tmp_path / "state")
    backend.update(Batch(played, range(len(played))), seed=5)
    again = adapter_of(backend, tmp_path / "again")
    assert all(torch.equal(once[name], again[name]) for name in once)
    shape = model_shape(prepared.model_path)
    assert shape is not None
    size = sum(file.stat().st_size for file in (tmp_path / "state").glob("*.pt"))
    assert size < 14 * shape.adapters(prepared.config.model.lora) + (1 << 20)  # the adapter and its moments, in float32
    backend.sync(2)


def test_dpo_and_grpo_move_the_sampler(backend: VerlBackend, played: list[Trajectory]) -> None:
    before = backend._config.update
    pairs = Batch(played[:8], range(0, 8, 2))
    credited = Batch(played, range(len(played)), [reward(Scored(play, 0.0, 0)) for play in played])
    try:
        for version, (loss, batch) in enumerate((("dpo", pairs), ("grpo", credited)), start=3):
            backend._config.update = dataclasses.replace(before, loss=loss)
            metrics = backend.update(batch, seed=1)
            assert all(np.isfinite(value) for value in metrics.values())
            passed = backend.sync(version)
            assert passed["sync/canary"] < passed["sync/moved"]
    finally:
        backend._config.update = before


def test_the_exported_model_is_the_base_with_the_adapter(
    prepared: Prepared, backend: VerlBackend, played: list[Trajectory], tmp_path: Path
) -> None:
    backend.update(Batch(played, range(len(played))), seed=9)
    backend.sync(5)
    backend.save(tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16).state_dict()
    base = AutoModelForCausalLM.from_pretrained(prepared.model_path, dtype=torch.float32)
    applied = PeftModel.from_pretrained(base, str(tmp_path / "model" / ADAPTER))
    expected = merged(prepared.model_path, tmp_path / "model" / ADAPTER).state_dict()
    assert all(torch.equal(whole[name], expected[name].to(torch.bfloat16)) for name in expected)
    tokens = samples_of(played)[0]
    ids = torch.from_numpy(tokens.ids_N.copy()).long()[None]
    with torch.no_grad():
        logprobs = applied(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        untrained = AutoModelForCausalLM.from_pretrained(prepared.model_path, dtype=torch.float32)(ids).logits[0, :-1]
    sampled = torch.from_numpy(tokens.sampled_N[1:].copy())
    theirs, ours = logprobs[sampled], backend._trainer_logprobs([tokens])[0]
    old = untrained.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0][sampled]
    assert (theirs - ours).abs().mean() < 0.05
    assert (theirs - old).abs().mean() > 0.01
