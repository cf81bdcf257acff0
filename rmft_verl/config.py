"""The typed configuration tree, and the values and combinations that are refused before anything loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rmft_verl.history import HISTORIES
from rmft_verl.play import ON_INVALID
from rmft_verl.selection import GROUP_KEYS, RULES
from rmft_verl.types import RunError


class ConfigError(RunError):
    """A configuration that cannot run. The message is one line: the key, its value and the remedy."""


@dataclass
class EnvConfig:
    name: str = "mab"
    """Installed plug-in, drop-in in ``env_dirs``, or ``pkg.module:Class``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the plug-in's Generator for training scenarios."""
    eval_options: dict[str, Any] = field(default_factory=dict)
    """Merged over ``options`` for the held-out scenarios."""


@dataclass
class ModelConfig:
    path: str = "tiny:mab"
    """Directory, hub id, or ``tiny:NAME`` for a base model that ships with the package."""
    context: int = 4096
    """Tokens a whole dialogue may take, prompt included."""
    chat_template: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the chat template, such as ``enable_thinking``."""


@dataclass
class RolloutConfig:
    scenarios: int = 32
    """M: scenarios drawn in each iteration."""
    rollouts: int = 16
    """L: trajectories played in each scenario."""
    reply_tokens: int = 512
    """Most tokens of one reply."""
    temperature: float = 1.0
    top_p: float = 1.0
    history: str = "dialogue"
    """``dialogue`` (it grows; earlier replies stay), ``transcript`` or ``summary`` (one prompt a round)."""
    on_invalid: str = "uniform"
    """What a reply without an action does: ``uniform``, ``reask`` or ``end``."""
    share_rewards: bool = False
    """The L rollouts of a scenario see one reward tape."""


@dataclass
class SelectionConfig:
    rule: str = "lowest_regret"
    """A key of ``selection.RULES``."""
    keep: int = 8
    """k: trajectories kept in each scenario."""
    group_by: str = "scenario"
    """A key of ``selection.GROUP_KEYS``."""


@dataclass
class UpdateConfig:
    lr: float = 1e-5
    epochs: int = 1
    batch: int = 64
    """Samples (dialogues, or prompts where every round has its own) in one optimizer step, over all GPUs."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0


@dataclass
class EvalConfig:
    scenarios: int = 200
    """Held-out scenarios, drawn from a seed that training never uses."""
    rollouts: int = 1
    every: int = 1
    """Iterations between evaluations; the base and the last model are always evaluated."""
    temperature: float = 1.0


@dataclass
class HardwareConfig:
    device: str = "auto"
    """``auto`` (a GPU if there is one, else the CPU), ``cuda`` or ``cpu``."""
    nodes: int = 1
    gpus_per_node: int = 1
    tensor_parallel: int = 1
    """GPUs a copy of the sampler is split over."""
    fsdp_size: int = -1
    """GPUs a copy of the trainer is sharded over; -1 = all."""
    offload: bool = False
    """Keep the trainer's parameters and optimizer state in CPU memory while it does not train."""
    tokens_per_gpu: int = 16384
    """Most tokens of one forward pass of the trainer (dynamic batching)."""
    gpu_memory: float = 0.6
    """Share of a GPU's memory for the sampler's weights and cache."""
    max_num_seqs: int = 256
    """Dialogues sampled at once by one sampler."""
    agent_workers: int = 1
    """Processes that play the dialogues."""


@dataclass
class TrackingConfig:
    wandb: str = "disabled"
    """``online``, ``offline``, ``disabled`` or ``auto`` (online with a login, else offline with one warning)."""
    project: str = "rmft_verl"
    backends: list[str] = field(default_factory=list)
    """Further trackers through verl's Tracking, such as ``tensorboard``."""


@dataclass
class Config:
    recipe: str = ""
    name: str = ""
    """Name of the run directory; empty = recipe and time."""
    root: str = "runs"
    """Where run directories are made."""
    seed: int = 0
    iterations: int = 5
    env: EnvConfig = field(default_factory=EnvConfig)
    env_dirs: list[str] = field(default_factory=list)
    """Folders with drop-in environments."""
    model: ModelConfig = field(default_factory=ModelConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    canary_tolerance: float = 0.05
    """Largest mean absolute difference of sampler and trainer log-probabilities (nats per token) after a sync."""
    dry_run: bool = False
    """Resolve everything, print the plan and stop."""
    verl: dict[str, Any] = field(default_factory=dict)
    """Raw overrides of verl's own configuration, merged last."""


def check(config: Config) -> None:
    """Refuse values and combinations that cannot run; raises ``ConfigError``."""
    for key, low in _LOWEST.items():
        value = _get(config, key)
        if not (value >= low and math.isfinite(value)):
            raise ConfigError(f"{key}={value}: must be at least {low}")
    choices: dict[str, Sequence[str]] = {
        "selection.rule": tuple(RULES),
        "selection.group_by": tuple(GROUP_KEYS),
        "rollout.history": HISTORIES,
        "rollout.on_invalid": ON_INVALID,
        "hardware.device": ("auto", "cuda", "cpu"),
        "tracking.wandb": ("online", "offline", "disabled", "auto"),
    }
    for key, allowed in choices.items():
        if _get(config, key) not in allowed:
            raise ConfigError(f"{key}={_get(config, key)!r}: choose one of {', '.join(allowed)}")
    keep, rollouts = config.selection.keep, config.rollout.rollouts
    if keep > rollouts:
        raise ConfigError(
            f"selection.keep={keep} is more than rollout.rollouts={rollouts}: keep at most what is played, "
            "or play more rollouts"
        )
    if config.rollout.history == "dialogue" and config.update.batch > keep * config.rollout.scenarios:
        raise ConfigError(
            f"update.batch={config.update.batch} is more than the selection.keep*rollout.scenarios="
            f"{keep * config.rollout.scenarios} trajectories of an iteration: lower update.batch"
        )
    world = config.hardware.nodes * config.hardware.gpus_per_node
    if world % config.hardware.tensor_parallel:
        raise ConfigError(f"hardware.tensor_parallel={config.hardware.tensor_parallel} does not divide {world} GPUs")
    if config.update.batch % world:
        raise ConfigError(f"update.batch={config.update.batch} must be a multiple of the {world} GPUs")
    if config.model.context > config.hardware.tokens_per_gpu:
        raise ConfigError(
            f"hardware.tokens_per_gpu={config.hardware.tokens_per_gpu} is less than model.context="
            f"{config.model.context}: one dialogue must fit a forward pass; raise hardware.tokens_per_gpu"
        )


_LOWEST: dict[str, float] = {
    "iterations": 1,
    "rollout.scenarios": 1,
    "rollout.rollouts": 1,
    "rollout.reply_tokens": 1,
    "rollout.temperature": 0.0,
    "selection.keep": 1,
    "update.lr": 0.0,
    "update.epochs": 1,
    "update.batch": 1,
    "eval.scenarios": 1,
    "eval.rollouts": 1,
    "eval.every": 1,
    "hardware.nodes": 1,
    "hardware.gpus_per_node": 1,
    "hardware.tensor_parallel": 1,
    "canary_tolerance": 0.0,
}


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = vars(value)[part]
    return value
