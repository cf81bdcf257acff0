"""Which numbers a CPU computes in, by what Linux says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rmft_verl.bridge import verl_config
from rmft_verl.bridge.precision import cpu_dtype
from rmft_verl.config import Config, ConfigError
from rmft_verl.env.tokens import Budget
from rmft_verl.setup.recipe import load_config

SAYS = {
    "sapphire rapids": ("flags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\n", "bfloat16"),
    "zen 4": ("flags\t\t: fpu avx512f avx512_bf16\n", "bfloat16"),
    "ice lake": ("flags\t\t: fpu avx512f avx512_vnni avx512_bitalg\n", "float32"),
    "haswell": ("processor\t: 0\nmodel name\t: bf16 is no flag here\nflags\t\t: fpu avx2\n", "float32"),
    "neoverse v1": ("Features\t: fp asimd bf16 i8mm\n", "bfloat16"),
    "neoverse n1": ("Features\t: fp asimd\n", "float32"),
    "nothing": ("processor\t: 0\n", "bfloat16"),
}


@pytest.mark.parametrize(("text", "expected"), SAYS.values(), ids=list(SAYS))
def test_float32_where_there_are_no_bfloat16_products(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_dtype(tmp_path / "cpuinfo") == expected


def test_a_system_that_says_nothing_computes_as_a_gpu_does(tmp_path: Path) -> None:
    assert cpu_dtype(tmp_path / "none") == "bfloat16"


def derived(config: Config, kind: str) -> dict[str, Any]:
    return verl_config.derive(config, kind, config.model.path, Budget(1, 1, 1, 1, 1))


@pytest.mark.verl
def test_sampler_and_trainer_of_a_cpu_compute_in_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(["recipe=mab_qwen3_0p6b", "dry_run=true"])
    found: dict[str, Any] = {}
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setattr(verl_config, "cpu_dtype", lambda dtype=dtype: dtype)
        found[dtype] = verl_config.compose_verl(derived(config, "cpu"), {}).actor_rollout_ref
        on_gpu = verl_config.compose_verl(derived(config, "cuda"), {}).actor_rollout_ref
        assert (on_gpu.rollout.dtype, on_gpu.actor.fsdp_config.get("mixed_precision")) == ("bfloat16", None)
    assert [found[dtype].rollout.dtype for dtype in found] == ["bfloat16", "float32"]
    assert found["bfloat16"].actor.fsdp_config.get("mixed_precision") is None
    assert set(found["float32"].actor.fsdp_config.mixed_precision.values()) == {"fp32"}
    caches = [found[dtype].rollout.engine_kwargs.vllm.kv_cache_memory_bytes for dtype in found]
    assert caches[1] == 2 * caches[0]  # as many dialogues
    raw = {"actor_rollout_ref": {"rollout": {"dtype": "float32"}}}
    monkeypatch.setattr(verl_config, "cpu_dtype", lambda: "bfloat16")
    overridden = verl_config.compose_verl(derived(dataclasses.replace(config, verl=raw), "cpu"), raw)
    assert overridden.actor_rollout_ref.rollout.engine_kwargs.vllm.kv_cache_memory_bytes == caches[1]


@pytest.mark.verl
def test_numbers_that_the_sampler_does_not_compute_in_are_refused() -> None:
    config = load_config(["recipe=mab_tiny", "verl.actor_rollout_ref.rollout.dtype=fp32"])
    with pytest.raises(ConfigError, match=r"rollout\.dtype=fp32: set one of bfloat16, float16, float32"):
        verl_config.check_raw(config)


@pytest.mark.verl
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_added_key_is_taken_whether_or_not_the_machine_sets_it_itself(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verl_config, "cpu_dtype", lambda: dtype)
    config = load_config(
        ["recipe=mab_tiny", "verl.actor_rollout_ref.actor.fsdp_config.mixed_precision.+param_dtype=fp16"]
    )
    composed = verl_config.compose_verl(derived(config, "cpu"), config.verl)
    assert composed.actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype == "fp16"
