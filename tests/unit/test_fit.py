"""Whether a run fits: the memory of each phase by hand, the plan's last line, and what a start refuses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from rmft_verl.bridge import verl_config
from rmft_verl.bridge.shapes import Shape
from rmft_verl.config import ConfigError, LoraConfig
from rmft_verl.main import main
from rmft_verl.setup import disk, fit, memory
from rmft_verl.setup.memory import GIB, Use
from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import load_config

M = 2**20
SHAPE = Shape(
    1024 * M, hidden=64, layers=2, kv_heads=2, head_dim=16, vocabulary=M, linears={"q_proj": 2 * M}, outside=24 * M
)
USE = Use(
    shape=SHAPE,
    lora=LoraConfig(),
    ranks=2,
    shards=2,
    tensor_parallel=1,
    tokens=4096,
    context=1024,
    sampled=0.25,
    dense=False,
    fused=False,
    entropy=False,
    gpu_memory=0.5,
    param_offload=False,
    optimizer_offload=False,
    streamed=False,
    checkpointed=True,
    bucket=2.0,
    batched=512,
    cache=2.0,
)


def changed(**fields: Any) -> Use:
    return dataclasses.replace(USE, **fields)


def test_parts_by_hand() -> None:
    parts = list(USE.parts.values())
    assert parts[:3] == [2, 2, 4]  # 1 GiB of parameters over two GPUs, 4 bytes each, 8 for the moments
    assert parts[3] == pytest.approx(2 * 2 * (24 + 2 * 500) / 1024)  # embeddings and two layers, and their gradients
    assert parts[4] == pytest.approx(2 * 4096 * (64 * 2 + M) / GIB)
    assert parts[5] == pytest.approx(12 * 1024 * M / GIB)  # a quarter of the tokens is sampled
    assert parts[6] == 2 and parts[7] == pytest.approx(2 * 2 * 2 * 2 * 16 * 1024 / GIB)


def test_phases_by_hand() -> None:
    plays, updates, syncs, canary = USE.phases(40).values()
    assert plays == 20 + 2 + 4
    assert updates == pytest.approx(sum(list(USE.parts.values())[:6]))
    assert syncs == 2 + 4 + 2 + 2
    assert canary == pytest.approx(20 + 2 + 4 + max(2 + 4 * 1024 / 1024, 7 * 512 / 1024))
    assert USE.short(40) == pytest.approx(max(plays, updates, syncs, canary) - 40)
    assert changed(gpu_memory=0.01).short(100) == pytest.approx(2 - 1 + USE.dialogue)  # the sampler lacks its weights


def test_offloading_empties_what_it_says_and_not_the_update() -> None:
    plays, updates, syncs, _ = changed(param_offload=True, optimizer_offload=True).phases(40).values()
    assert (plays, syncs) == (20, 2 + 2 + 2) and updates == USE.phases(40)["it updates, the sampler asleep"]
    assert list(changed(streamed=True).parts.values())[:3] == [0, 0, 0]


def test_adapters_have_the_gradients_and_the_moments() -> None:
    """Written out: 4 bytes a parameter held; gradients and both moments of the trained ones alone."""
    adapters = 8 * 2 * M / GIB
    parameters, gradients, moments = changed(lora=LoraConfig(8), shards=1).state.values()
    assert parameters == pytest.approx(4 + 4 * adapters)
    assert (gradients, moments) == (pytest.approx(4 * adapters), pytest.approx(8 * adapters))


def test_logits_of_all_tokens_of_few_and_with_the_entropy() -> None:
    def logits(**fields: Any) -> float:
        return list(changed(**fields).parts.values())[5]

    assert logits() == pytest.approx(12 * 1024 * M / GIB)
    assert logits(dense=True) == 4 * logits()
    assert logits(entropy=True) == pytest.approx(logits() * 30 / 12)
    assert logits(tokens=8192) == pytest.approx(12 * 1024 * M / GIB)  # 2048, computed 512 at a time
    assert logits(tokens=8192, entropy=True) == pytest.approx(30 * 1024 * M / GIB)
    assert logits(fused=True) == pytest.approx(21 * 512 * M / GIB)


@pytest.mark.verl
@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["recipe=mab_qwen3", "hardware.gpus_per_node=1"], "hardware.gpu_memory=0.5 model.lora.rank=32"),
        (["recipe=mab_qwen3_0p6b", "hardware.gpu_gib=24", "hardware.offload=false"], "hardware.offload=true"),
        (["recipe=mab_qwen3", "hardware.gpu_memory=0.1"], "hardware.gpu_memory=0.5"),
        (["recipe=mab_qwen3", "verl.actor_rollout_ref.rollout.gpu_memory_utilization=0.9"], "hardware.gpu_memory=0.5"),
    ],
)
def test_a_plan_that_does_not_fit_names_what_makes_it_fit(words: list[str], remedy: str, capsys: Any) -> None:
    assert main([*words, "dry_run=true"]) == 2
    said = capsys.readouterr()
    assert said.out.endswith("does not fit\n") and said.err.count("\n") == 1
    assert remedy in said.err and "does not fit a GPU of" in said.err
    kept = [word for word in words if not word.startswith("verl")]
    assert main([*kept, *remedy.split(), "dry_run=true"]) == 0
    assert re.search(r"\nfits: \d+\.\d of (80|24) GiB a GPU to spare, least while .+\n$", capsys.readouterr().out)


@pytest.mark.verl
def test_a_start_that_cannot_fit_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    words = ["recipe=mab_tiny", "hardware.device=cpu", f"root={tmp_path}"]
    monkeypatch.setattr(fit, "machine_gib", lambda: 4.0)
    assert main(words) == 2
    assert "this machine has 4.0" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert main([*words, "dry_run=true"]) == 2
    monkeypatch.setattr(fit, "machine_gib", lambda: 64.0)
    assert main([*words, "dry_run=true"]) == 0
    assert re.search(r"\nfits: it needs about (\d+\.\d) of the 64.0 GiB", capsys.readouterr().out)


@pytest.mark.verl
def test_a_disk_that_cannot_hold_a_state_is_refused_at_the_start(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """mab_tiny has 985,600 parameters: 11.3 MiB a state, 3.76 the model, and up to three states at once."""
    words = ["recipe=mab_tiny", "hardware.device=cpu", f"root={tmp_path / 'runs'}"]
    monkeypatch.setattr(disk, "free_gib", lambda root: 0.014)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "has 0.014 GiB free, and one state of the trainer takes 0.011, the trained model 0.00367" in said
    assert said.count("\n") == 1 and "choose another root=" in said and not list(tmp_path.iterdir())
    assert main([*words, "dry_run=true"]) == 0  # the plan may be for another machine
    assert "GiB a checkpoint" in (said := capsys.readouterr().out) and "has 0.014 GiB free" in said
    monkeypatch.setattr(disk, "free_gib", lambda root: 0.03)
    prepared = prepare(load_config(words))
    disk.refuse_full_disk(prepared)
    assert "3 states do not fit at once; lower checkpoint.keep" in capsys.readouterr().err
    disk.refuse_full_disk(prepare(load_config([*words, "checkpoint.keep=1"])))
    assert not capsys.readouterr().err


@pytest.mark.verl
def test_the_plans_on_a_cpu_are_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured on a CPU with bfloat16 products."""

    monkeypatch.setattr(verl_config, "cpu_dtype", lambda: "bfloat16")
    words = ["recipe=mab_tiny", "hardware.device=cpu", "dry_run=true"]
    use = memory.use_of(prepare(load_config(words)))
    assert use is not None and sum(use.machine.values()) == pytest.approx(4.86, rel=0.15)
    assert use.machine["trainer"] == pytest.approx(1.18, rel=0.15)
    smollm2 = {"linears": {"all": 305_280}, "parameters": 134_515_008, "hidden": 576, "layers": 30}
    shape = dataclasses.replace(use.shape, vocabulary=49152, outside=28_311_552, **smollm2)
    whole = dataclasses.replace(use, shape=shape, tokens=2048, context=1024, sampled=0.15, cache=1.32)
    assert sum(whole.machine.values()) == pytest.approx(11.84, rel=0.15)
    assert whole.machine["trainer"] == pytest.approx(5.15, rel=0.15)
    assert whole.machine["sampler"] == pytest.approx(3.35, rel=0.15)


def test_what_no_setting_mends() -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        load_config(["recipe=mab_tiny", "hardware.gpu_gib=-1"])
    assert fit._remedy(USE, [[], []], lambda use: False) == "no setting makes it fit, take a smaller model"
    assert fit._remedy(USE, [[fit.Change("a=1", {})], [fit.Change("b=1", {})]], lambda use: True) == "set a=1, or b=1"
