"""LoRA and the learning rate's schedule as verl is told of them; what would train unseen is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from verl.utils.torch_functional import get_cosine_schedule_with_warmup

from rmft_verl.bridge.shapes import Shape
from rmft_verl.bridge.verl_config import derive
from rmft_verl.config import ConfigError
from rmft_verl.config import LoraConfig as OurLora
from rmft_verl.env.tokens import Budget
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.recipe import load_config

BUDGET = Budget(100, 100, 4, 10, 4)


def rates(*arguments: str) -> list[float]:
    """The learning rate of every iteration, by verl's own scheduler with the keys it gets."""
    config = load_config(["recipe=mab_tiny", "update.lr=1.0", *arguments])
    keys = derive(config, "cpu", str(tiny_path("mab")), BUDGET)
    optim = {key.rpartition(".")[2]: value for key, value in keys.items() if ".optim." in key}
    assert optim["lr_scheduler_type"] == "cosine"
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=optim["lr"])
    schedule = get_cosine_schedule_with_warmup(
        optimizer=optimizer,
        num_warmup_steps=0,
        num_training_steps=optim["total_training_steps"],
        num_cycles=optim["num_cycles"],
        zero_indexed_step=optim["zero_indexed_step"],
    )
    seen = []
    for _ in range(config.iterations):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def test_no_iteration_trains_at_nothing() -> None:
    assert rates("iterations=4") == [1, 1, 1, 1]
    half = [0.5 * (1 + torch.cos(torch.tensor(torch.pi * i / 5)).item()) for i in range(1, 5)]
    assert rates("iterations=4", "update.schedule=cosine") == pytest.approx(half, abs=1e-6)


@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "v_proj"], ["down_proj"]])
def test_the_plan_counts_what_peft_adds(modules: Any) -> None:
    hf = AutoConfig.from_pretrained(tiny_path("mab"))
    model = AutoModelForCausalLM.from_config(hf)
    told: dict[str, Any] = {"r": 3, "target_modules": modules, "task_type": "CAUSAL_LM"}
    model = get_peft_model(model, LoraConfig(**told))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    shape = Shape.from_hf(json.loads((tiny_path("mab") / "config.json").read_text()))
    assert shape.adapters(OurLora(rank=3, target_modules=modules)) == trained
    assert shape.adapters(OurLora()) == 0


def test_verl_is_told() -> None:
    arguments = ["recipe=mab_tiny", "model.lora.rank=8", "model.lora.target_modules=[q_proj,v_proj]"]
    keys = derive(load_config(arguments), "cpu", str(tiny_path("mab")), BUDGET)
    assert keys["actor_rollout_ref.model.lora_rank"] == 8 and keys["actor_rollout_ref.model.lora.merge"] is True
    assert list(keys["actor_rollout_ref.model.target_modules"]) == ["q_proj", "v_proj"]
    assert not any("lora" in key for key in derive(load_config(arguments[:1]), "cpu", str(tiny_path("mab")), BUDGET))


@pytest.mark.parametrize(
    "key", ["lora_rank=8", "lora_alpha=8", "lora.rank=8", "lora_adapter_path=x", "target_modules=q"]
)
def test_verls_own_keys_are_refused_with_a_pointer(key: str) -> None:
    with pytest.raises(ConfigError, match=r"verl\.actor_rollout_ref\.model\.(lora|target).*model\.lora\.rank"):
        load_config(["recipe=mab_tiny", f"verl.actor_rollout_ref.model.{key}"])


@pytest.mark.parametrize("modules", ["q_proj", "[]", "[1]"])
def test_modules_that_are_no_list_of_names_are_refused(modules: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora\.target_modules.*all-linear, or a list"):
        load_config(["recipe=mab_tiny", "model.lora.rank=2", f"model.lora.target_modules={modules}"])
