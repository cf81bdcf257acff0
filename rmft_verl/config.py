"""The typed configuration tree, and the values and combinations that are refused before anything loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rmft_verl.credit import CREDITS
from rmft_verl.history import HISTORIES
from rmft_verl.play import ON_INVALID
from rmft_verl.players import PLAYERS
from rmft_verl.scores import SCORES
from rmft_verl.selection import GROUP_KEYS, count
from rmft_verl.types import RunError

LOSSES = ("sft", "dpo", "grpo")


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
    player: str = "model"
    """Who plays: the ``model``, or an algorithm whose play is imitated, such as ``ucb1``."""
    share_rewards: bool = False
    """The L rollouts of a scenario see one reward tape."""


@dataclass
class SelectionConfig:
    score: str = "regret"
    """A key of ``scores.SCORES``: what plays are ranked by, the lowest first."""
    further: float = 0.0
    """Rounds of the continuation of ``posterior``, in horizons (docs/selection.md)."""
    keep: float = 8
    """k: trajectories kept in each scenario, or below 1 the share of ``rollout.rollouts`` that is kept."""
    threshold: float | None = None
    """The worst score per round that is kept, whatever ``keep`` says."""
    group_by: str = "scenario"
    """A key of ``selection.GROUP_KEYS``."""


@dataclass
class UpdateConfig:
    loss: str = "sft"
    """``sft`` on what was kept, ``dpo`` on pairs of the best and the worst, or ``grpo`` on every valid play."""
    lr: float = 1e-5
    epochs: int = 1
    batch: int = 64
    """Samples (dialogues, or prompts where every round has its own) in one optimizer step, over all GPUs."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    start: str = "current"
    """What an iteration trains: the ``current`` model, or the ``base`` anew on the plays of the current one."""
    train_on: str = "reply"
    """SFT: the whole ``reply``, or only its last line, the ``action``."""
    weighting: str = "token"
    """SFT: every trained ``token`` counts alike, or every ``trajectory``."""
    beta: float = 0.1
    """DPO: strength of the pull towards the model that played."""
    sft_term: float = 0.0
    """DPO: weight of the cross-entropy of the chosen plays, added to the loss."""
    margin: float = 0.0
    """DPO: least difference of a pair's scores, in units of uniform play's regret; closer pairs are left out."""
    credit: str = "regret"
    """GRPO: a key of ``credit.CREDITS``, what the turns of a play are credited with."""


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
class CheckpointConfig:
    every: int = 1
    """Iterations between states of the trainer on disk (about 16 bytes a parameter each); a run that is cut goes on
    from the last one and repeats the updates since."""
    keep: int = 2
    """How many of them are kept, the last ones."""


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
    resume: str = ""
    """A run directory to go on with. The same ``root`` and ``name`` as before do the same."""
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
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    canary_tolerance: float = 0.05
    """Largest mean absolute difference of sampler and trainer log-probabilities (nats per token) after a sync."""
    dry_run: bool = False
    """Resolve everything, print the plan and stop."""
    verl: dict[str, Any] = field(default_factory=dict)
    """Raw overrides of verl's own configuration, merged last."""


def check(config: Config) -> None:
    """Refuse values and combinations that cannot run; raises ``ConfigError``."""
    for key, low in [(key, low) for low, keys in _LOWEST.items() for key in keys.split()]:
        value = _get(config, key)
        if not (value >= low and math.isfinite(value)):
            raise ConfigError(f"{key}={value}: must be at least {low}")
    choices: dict[str, Sequence[str]] = {
        "selection.score": tuple(SCORES),
        "selection.group_by": tuple(GROUP_KEYS),
        "rollout.player": ("model", *PLAYERS),
        "rollout.history": HISTORIES,
        "rollout.on_invalid": ON_INVALID,
        "update.loss": LOSSES,
        "update.start": ("current", "base"),
        "update.train_on": ("reply", "action"),
        "update.weighting": ("token", "trajectory"),
        "update.credit": tuple(CREDITS),
        "hardware.device": ("auto", "cuda", "cpu"),
        "tracking.wandb": ("online", "offline", "disabled", "auto"),
    }
    for key, allowed in choices.items():
        if _get(config, key) not in allowed:
            raise ConfigError(f"{key}={_get(config, key)!r}: choose one of {', '.join(allowed)}")
    _check_selection(config)
    _check_update(config)
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


def _check_selection(config: Config) -> None:
    selection, rollouts = config.selection, config.rollout.rollouts
    if not selection.keep > 0:
        raise ConfigError(f"selection.keep={selection.keep:g}: must be above 0")
    if selection.keep >= 1 and selection.keep != int(selection.keep):
        raise ConfigError(f"selection.keep={selection.keep}: write a whole number, or a share below 1")
    if selection.keep > rollouts:
        raise ConfigError(
            f"selection.keep={selection.keep:g} is more than rollout.rollouts={rollouts}: keep at most what is played, "
            "or play more rollouts"
        )
    if selection.further and selection.score != "posterior":
        raise ConfigError(
            f"selection.further={selection.further:g} belongs to selection.score=posterior, not "
            f"{selection.score!r}: leave it out"
        )


def _check_update(config: Config) -> None:
    update, rollout = config.update, config.rollout
    per_scenario = samples_per_scenario(config)
    if update.loss in ("dpo", "grpo") and rollout.rollouts < 2:
        raise ConfigError(
            f"update.loss={update.loss!r} compares plays of a scenario, and rollout.rollouts={rollout.rollouts}: "
            "play 2 or more"
        )
    if update.loss == "dpo" and 2 * count(config.selection.keep, rollout.rollouts) > rollout.rollouts:
        raise ConfigError(
            f"selection.keep={config.selection.keep:g} pairs need twice as many plays, and rollout.rollouts="
            f"{rollout.rollouts}: keep at most half"
        )
    if update.loss == "dpo" and rollout.history != "dialogue":
        raise ConfigError(
            f"update.loss='dpo' compares whole dialogues: use rollout.history=dialogue, not {rollout.history!r}"
        )
    if update.loss != "sft" and update.train_on == "action":
        raise ConfigError(
            f"update.train_on='action' is an option of update.loss=sft, not {update.loss!r}: leave it out"
        )
    if update.loss == "grpo" and rollout.player != "model":
        raise ConfigError(
            f"update.loss='grpo' reinforces the model's own plays, and rollout.player={rollout.player!r}: "
            "use update.loss=sft to imitate a player"
        )
    if rollout.history == "dialogue" and update.batch > per_scenario * rollout.scenarios:
        raise ConfigError(
            f"update.batch={update.batch} is more than the {per_scenario * rollout.scenarios} samples of an "
            f"iteration ({per_scenario} of each of rollout.scenarios={rollout.scenarios}): lower update.batch"
        )


def samples_per_scenario(config: Config) -> int:
    """Plays of a scenario that an update trains on, if all are valid."""
    if config.update.loss == "grpo":
        return config.rollout.rollouts
    return count(config.selection.keep, config.rollout.rollouts) * (2 if config.update.loss == "dpo" else 1)


_LOWEST: dict[float, str] = {
    0.0: "rollout.temperature selection.further update.lr update.beta update.sft_term update.margin canary_tolerance",
    1: "iterations rollout.scenarios rollout.rollouts rollout.reply_tokens update.epochs update.batch eval.scenarios "
    "eval.rollouts eval.every hardware.nodes hardware.gpus_per_node hardware.tensor_parallel checkpoint.every "
    "checkpoint.keep",
}
"""Least value -> the keys it holds for."""


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = vars(value)[part]
    return value
