"""Raw overrides of verl: those that would change nothing are refused, the others stand in the plan."""

from __future__ import annotations

from typing import Any

import pytest

from rmft_verl.config import ConfigError
from rmft_verl.main import main
from rmft_verl.setup.recipe import load_config

ACTOR, SAMPLER, MODEL = (f"verl.actor_rollout_ref.{part}" for part in ("actor", "rollout", "model"))


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("verl.trainer.total_epochs=3", "nothing reads it"),
        ("verl.data.train_batch_size=3", "nothing reads it"),
        ("verl.algorithm.gamma=0.9", "nothing reads it"),
        (f"{MODEL}.path=x", "use model.path"),
        (f"{MODEL}.lora_rank=8", "model.lora.rank"),
        (f"{MODEL}.lora.merge=false", "model.lora.rank"),
        (f"{SAMPLER}.n=4", "use rollout.rollouts"),
        (f"{SAMPLER}.temperature=0.5", "use rollout.temperature"),
        (f"{SAMPLER}.val_kwargs.top_p=0.5", "use eval.temperature"),
        (f"{SAMPLER}.name=sglang", "written for vllm alone"),
        (f"{ACTOR}.strategy=megatron", "written for fsdp2 alone"),
        (f"{ACTOR}.ppo_epochs=2", "use update.epochs"),
        ("verl.actor_rollout_ref.ref.strategy=fsdp", "no reference model"),
    ],
)
def test_what_would_not_arrive_is_refused_by_name(given: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as caught:
        load_config(["recipe=mab_tiny", given])
    assert str(caught.value).startswith(given.partition("=")[0])


def test_what_cannot_be_restricted_is_refused_with_structured_decoding() -> None:
    for key in (f"{MODEL}.use_fused_kernels=true", f"{ACTOR}.ulysses_sequence_parallel_size=2"):
        with pytest.raises(ConfigError, match="among the allowed answers"):
            load_config(["recipe=mab_tiny", "rollout.structured=true", key])
        load_config(["recipe=mab_tiny", key])
    load_config(["recipe=mab_tiny", "rollout.structured=true", f"{MODEL}.use_fused_kernels=false"])


@pytest.mark.parametrize(
    "given",
    [
        f"{SAMPLER}.name=vllm",
        f"{SAMPLER}.nccl_timeout=9",
        f"{ACTOR}.clip_ratio_high=0.3",
        "verl.algorithm.norm_adv_by_std_in_grpo=false",
        f"+{MODEL}.override_config.x=1",
    ],
)
def test_what_arrives_is_taken(given: str) -> None:
    load_config(["recipe=mab_tiny", given.removeprefix("+")])


@pytest.mark.verl
def test_the_plan_lists_them_and_counts_with_them(capsys: Any) -> None:
    offload = f"{ACTOR}.fsdp_config.offload_policy=true"
    assert main(["recipe=mab_qwen3", offload, f"{MODEL}.use_fused_kernels=true", "dry_run=true"]) == 0
    plan = capsys.readouterr().out
    assert "verl's own values, as given:\n  actor_rollout_ref.actor.fsdp_config.offload_policy = True" in plan
    assert "    0.0  trainer Adam moments (fp32)" in plan and "    1.5  trainer logits" in plan
