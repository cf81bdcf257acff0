"""Refuses raw overrides of verl (``verl:``) that would change nothing, or that the bridge cannot deliver."""

from __future__ import annotations

from typing import Any

from rmft_verl.config import Config, ConfigError, dotted

READ = ("actor_rollout_ref.", "algorithm.norm_adv_by_std_in_grpo", "ray_kwargs.", "global_profiler.")
"""What reaches verl's workers and servers. The rest belongs to verl's own trainers, which never run."""

LORA = "LoRA is configured by model.lora.rank (alpha, target_modules), so that it is synced, saved and exported"

OURS = {
    "actor_rollout_ref.model.path": "use model.path",
    "actor_rollout_ref.model.custom_chat_template": "use model.chat_template_file",
    "actor_rollout_ref.model.lora": LORA,
    "actor_rollout_ref.model.target_modules": LORA,
    "actor_rollout_ref.model.exclude_modules": LORA,
    "actor_rollout_ref.rollout.n": "use rollout.rollouts",
    "actor_rollout_ref.rollout.temperature": "every request has its own: use rollout.temperature",
    "actor_rollout_ref.rollout.prompt_length": "use model.context",
    "actor_rollout_ref.rollout.response_length": "use model.context and rollout.reply_tokens",
    "actor_rollout_ref.rollout.max_model_len": "use model.context",
    "actor_rollout_ref.rollout.val_kwargs": "use eval.temperature",
    "actor_rollout_ref.rollout.multi_turn": "the environment's rounds are the turns",
    "actor_rollout_ref.actor.ppo_epochs": "use update.epochs",
    "actor_rollout_ref.actor.ppo_mini_batch_size": "use update.batch",
    "actor_rollout_ref.actor.checkpoint": "what is saved follows from checkpoint.best and model.lora.rank",
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": "use update.warmup",
    "actor_rollout_ref.ref": "no reference model is loaded",
}
"""Key, or the beginning of keys, that a key of ours sets or that nothing reads -> what to do instead."""

ONLY: dict[str, Any] = {
    "actor_rollout_ref.hybrid_engine": True,
    "actor_rollout_ref.actor.strategy": "fsdp2",
    "actor_rollout_ref.actor.use_dynamic_bsz": True,
    "actor_rollout_ref.rollout.name": "vllm",
    "actor_rollout_ref.rollout.mode": "async",
}
"""Key -> the one value that the bridge is written for."""

UNSTRUCTURED: dict[str, Any] = {
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size": 1,
    "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size": 1,
    "actor_rollout_ref.model.use_fused_kernels": False,
}
"""Key -> the one value with which log-probabilities among the allowed tokens of structured decoding can be had."""


def check_overrides(config: Config) -> None:
    """Raise ``ConfigError`` for the first override that would not arrive."""
    for given, value in dotted(config.verl).items():
        key = given.replace("+", "")
        if not key.startswith(READ):
            raise ConfigError(
                f"verl.{given}={value}: nothing reads it, as verl's own trainers do not run; leave it out"
            )
        for ours, remedy in OURS.items():
            if key == ours or key.startswith((f"{ours}.", f"{ours}_" if remedy == LORA else f"{ours}.")):
                raise ConfigError(f"verl.{given}={value}: {remedy}; leave verl's key out")
        if key in ONLY and value != ONLY[key]:
            raise ConfigError(f"verl.{given}={value}: the bridge is written for {ONLY[key]} alone; leave it out")
        if config.rollout.structured and value != UNSTRUCTURED.get(key, value):
            raise ConfigError(
                f"verl.{given}={value}: with rollout.structured=true the losses need log-probabilities among the "
                "allowed answers, which verl's kernels do not give; leave it out"
            )
