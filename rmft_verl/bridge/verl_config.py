"""Translates our ``Config`` to verl's configuration and checks it against verl's schema."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from rmft_verl.bridge.precision import cpu_dtype
from rmft_verl.bridge.shapes import WIDTHS, model_shape
from rmft_verl.bridge.training.tensors import bucket_megabytes
from rmft_verl.config import MOVED, Config, ConfigError, dotted
from rmft_verl.env.tokens import Budget
from rmft_verl.types import Message

AGENT = "rmft"

EXTENSIONS = {
    "cpu": "rmft_verl.bridge.cluster.cpu_sampler.CpuWorkerExtension",
    "cuda": "rmft_verl.bridge.cluster.sampler.SamplerExtension",
}
"""Kind of device -> the extension of vLLM's workers that receives weights."""

ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""Runs the model within vLLM's engine, without a worker's process: sooner, faster, and with 0.8 GB less. vLLM refuses
this on CPUs under its short name, since it cannot pin threads then; a run pins none.
"""

PACKED = "dialogues"
"""transformers' name of ``bridge.training.attention``."""

STATE, WEIGHTS = ["model", "optimizer", "extra"], ["hf_model"]
"""verl's names of what a checkpoint may hold: all that training goes on from (extra: schedule and generators), and the
weights as a Hugging Face directory.
"""

BLOCK = 32
"""Tokens of a block of vLLM's cache on a CPU. It computes a prompt again from its last whole block on."""

CACHE = 1 << 31
"""Most bytes of vLLM's cache on a CPU, unless one dialogue needs more."""

ACTOR, SAMPLER = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
DTYPE = f"{SAMPLER}.dtype"


def derive(config: Config, kind: str, model_path: str, budget: Budget) -> dict[str, Any]:
    """verl's keys that follow from ours. A leading ``+`` marks a key that verl's code knows and its file lacks."""
    hardware, rollout, update = config.hardware, config.rollout, config.update
    on_cpu = kind == "cpu"
    actor, sampler = ACTOR, SAMPLER
    derived: dict[str, Any] = {
        "trainer.device": kind,
        "trainer.nnodes": hardware.nodes,
        "trainer.n_gpus_per_node": hardware.gpus_per_node,
        "actor_rollout_ref.model.path": model_path,
        "actor_rollout_ref.model.use_remove_padding": True,
        "actor_rollout_ref.model.enable_gradient_checkpointing": not on_cpu,
        "data.apply_chat_template_kwargs": {f"+{k}": v for k, v in config.model.chat_template.items()},
        f"{actor}.strategy": "fsdp2",
        "critic.strategy": "fsdp2",
        f"{actor}.fsdp_config.fsdp_size": MOVED["hardware.fsdp_size"][1],
        f"{actor}.fsdp_config.param_offload": hardware.offload,
        f"{actor}.fsdp_config.optimizer_offload": hardware.offload,
        f"{actor}.checkpoint.save_contents": STATE,
        f"{actor}.checkpoint.load_contents": STATE,
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.ppo_max_token_len_per_gpu": hardware.tokens_per_gpu,
        f"{actor}.ppo_mini_batch_size": update.batch,
        f"{sampler}.name": "vllm",
        f"+{sampler}.engine_kwargs.vllm.worker_extension_cls": EXTENSIONS[kind],
        f"{sampler}.nnodes": hardware.nodes,
        f"{sampler}.n_gpus_per_node": hardware.gpus_per_node,
        f"{sampler}.tensor_model_parallel_size": hardware.tensor_parallel,
        f"{sampler}.gpu_memory_utilization": hardware.gpu_memory,
        f"{sampler}.max_num_seqs": hardware.max_num_seqs,
        f"{sampler}.max_model_len": config.model.context,
        f"{sampler}.prompt_length": budget.prompt_tokens,
        f"{sampler}.response_length": config.model.context - budget.prompt_tokens,
        f"{sampler}.temperature": rollout.temperature,
        f"{sampler}.top_p": rollout.top_p,
        f"{sampler}.calculate_log_probs": False,
        f"{sampler}.logprobs_mode": "raw_logprobs",  # "processed" ones cost a pass, asked or not
        f"{sampler}.log_prob_use_dynamic_bsz": True,
        f"{sampler}.log_prob_max_token_len_per_gpu": hardware.tokens_per_gpu,
        f"{sampler}.checkpoint_engine.update_weights_bucket_megabytes": bucket_megabytes(
            model_path, least=64 if on_cpu else 2048, download=not config.dry_run
        ),
    }
    if on_cpu or not importlib.util.find_spec("flash_attn"):
        derived["+actor_rollout_ref.model.override_config.attn_implementation"] = PACKED
    derived |= _optimizer(config) | _lora(config)
    return derived | (_on_cpu(config, model_path, budget) if on_cpu else {})


def _optimizer(config: Config) -> dict[str, Any]:
    update, optim = config.update, f"{ACTOR}.optim"
    return {
        f"{optim}.lr": update.lr,
        f"{optim}.weight_decay": MOVED["update.weight_decay"][1],
        f"{optim}.clip_grad": update.max_grad_norm,
        # verl's scheduler takes one step per update. Half a cosine falls to 0 over the run, no cosine is constant.
        # The warm-up is ours and counts optimizer steps (``bridge.training.engine``).
        f"{optim}.lr_scheduler_type": "cosine",
        f"{optim}.num_cycles": 0.5 if update.schedule == "cosine" else 0.0,
        f"{optim}.zero_indexed_step": False,
        f"{optim}.lr_warmup_steps": update.warmup,
        f"{optim}.total_training_steps": config.iterations + 1,
    }


def _lora(config: Config) -> dict[str, Any]:
    lora, model = config.model.lora, "actor_rollout_ref.model"
    if not lora.rank:
        return {}
    return {
        f"{model}.lora_rank": lora.rank,
        f"{model}.lora_alpha": lora.alpha,
        f"{model}.target_modules": lora.target_modules,
        f"{model}.lora.merge": True,  # the sampler gets merged weights and needs no LoRA of its own
        f"+{ACTOR}.checkpoint.save_lora_only": True,
    }


def _on_cpu(config: Config, model_path: str, budget: Budget) -> dict[str, Any]:
    alone = {f"+{SAMPLER}.engine_kwargs.vllm.distributed_executor_backend": ONE_PROCESS}
    computed = _in_float32() if cpu_dtype() == "float32" else {}
    return (
        (alone if config.hardware.tensor_parallel == 1 else {})
        | computed
        | {
            f"{SAMPLER}.enforce_eager": True,
            f"{SAMPLER}.free_cache_engine": False,
            f"+{SAMPLER}.enable_sleep_mode": False,
            # For a prompt split over two steps vLLM rewinds the seeded generator, which works on a GPU only.
            f"{SAMPLER}.enable_chunked_prefill": False,
            f"{SAMPLER}.max_num_batched_tokens": max(8192, config.model.context),
            f"+{SAMPLER}.engine_kwargs.vllm.block_size": BLOCK,
            f"+{SAMPLER}.engine_kwargs.vllm.kv_cache_memory_bytes": _cache(config, model_path, budget),
        }
    )


def _in_float32() -> dict[str, Any]:
    mixed = f"+{ACTOR}.fsdp_config.mixed_precision"
    kinds = dict.fromkeys((f"{mixed}.param_dtype", f"{mixed}.reduce_dtype", f"{mixed}.output_dtype"), "fp32")
    return {DTYPE: "float32"} | kinds


def _cache(config: Config, model_path: str, budget: Budget) -> int:
    """Bytes of vLLM's cache on a CPU, which vLLM fills with zeros at the start: for all dialogues that are open at a
    time, within ``CACHE``, and for one of full length at least.
    """
    shape = model_shape(model_path)
    if shape is None:
        return CACHE
    rollout, evaluated = config.rollout, config.eval
    played = max(rollout.scenarios * rollout.rollouts, evaluated.scenarios * evaluated.rollouts)
    open_at_once = min(played, 2 * config.hardware.max_num_seqs)
    longest, context = (math.ceil(tokens / BLOCK) * BLOCK for tokens in (budget.most, config.model.context))
    spare = BLOCK  # vLLM keeps a block for itself
    least, wanted = context + spare, open_at_once * min(longest, context) + spare
    token = shape.cached(dotted(config.verl).get(DTYPE, cpu_dtype()))
    return token * max(least, min(wanted, CACHE // token))


def compose_verl(derived: Mapping[str, Any], raw: Mapping[str, Any], chat_template: str = "") -> DictConfig:
    """verl's resolved configuration: its defaults, then ``derived``, then the user's ``verl:`` mapping.

    ``chat_template``: replaces the model's own; its text is too long for an override.

    Raises ``ConfigError`` for a key that verl does not have.
    """
    spec = importlib.util.find_spec("verl")  # located, not imported: a dry run stays fast
    assert spec is not None and spec.origin is not None
    overrides = _flatten(derived) + _flatten(raw)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(Path(spec.origin).parent / "trainer" / "config"), version_base=None):
        try:
            composed = compose("ppo_trainer", overrides=overrides)
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise ConfigError(f"verl: {' '.join(lines)}") from error
    OmegaConf.resolve(composed)
    if chat_template:
        composed.actor_rollout_ref.model.custom_chat_template = chat_template.replace("${", "\\${")
    return composed


def check_raw(config: Config) -> None:
    """Raise ``ConfigError`` for a key below ``verl:`` that verl does not have, or numbers that the sampler does not
    compute in, before anything heavy is imported.
    """
    dtype = dotted(config.verl).get(DTYPE, "bfloat16")
    if dtype not in list(WIDTHS):
        raise ConfigError(f"verl.{DTYPE}={dtype}: set one of {', '.join(WIDTHS)}")
    if config.verl:
        planned = dataclasses.replace(config, dry_run=True)  # nothing is downloaded or read
        # A CPU run derives all keys that a run on GPUs derives, so none that may be overridden is missing.
        compose_verl(derive(planned, "cpu", "(no model)", Budget(1, 1, 1, 1, 1)), config.verl)


def _flatten(tree: Mapping[str, Any]) -> list[str]:
    """Hydra override strings. A ``+`` anywhere in a key adds it; Hydra needs two at the front, as ours may be there."""
    return [f"{'++' * ('+' in key)}{key.replace('+', '')}={_hydra(value)}" for key, value in dotted(tree).items()]


def _hydra(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_hydra(item) for item in value) + "]"
    if value is None:
        return "null"
    return json.dumps(value) if isinstance(value, (str, bool)) else str(value)


def check_schema(verl_config: DictConfig) -> None:
    """Instantiate verl's dataclasses for the actor and the sampler, as its workers will; raises ``ConfigError``."""
    from verl.utils.config import omega_conf_to_dataclass

    for key in ("actor", "rollout"):
        try:
            omega_conf_to_dataclass(verl_config.actor_rollout_ref[key])
        except Exception as error:
            raise ConfigError(f"verl refuses actor_rollout_ref.{key}: {str(error).strip().splitlines()[0]}") from error


def agent_loop_file(config: Config, examples: Sequence[Message], path: Path) -> None:
    """Write the file that names our agent loop and its arguments; verl's worker of agent loops reads it."""
    entry = {
        "name": AGENT,
        "_target_": "rmft_verl.bridge.sampling.agent_loop.RMFTAgentLoop",
        "env_name": config.env.name,
        "env_dirs": [str(Path(directory).expanduser().resolve()) for directory in config.env_dirs],
        "history": config.rollout.history,
        "examples": [list(message) for message in examples],
        "on_invalid": config.rollout.on_invalid,
        "structured": config.rollout.structured,
        "reply_tokens": config.rollout.reply_tokens,
        "seats": 2 * config.hardware.max_num_seqs,  # between two replies a dialogue needs none of vLLM's
    }
    OmegaConf.save(OmegaConf.create([entry]), path)
