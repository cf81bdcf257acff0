"""Refuses what cannot run before anything loads, in one line with key, value and remedy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rmft_verl.algo import METHODS
from rmft_verl.algo.credit import CREDITS
from rmft_verl.algo.scores import SCORES
from rmft_verl.algo.selection import GROUP_KEYS, RULES
from rmft_verl.config import FSDP_SIZE, NUMERIC, NUMERIC_LOSSES, Config, ConfigError
from rmft_verl.env.history import HISTORIES
from rmft_verl.env.play import ON_INVALID
from rmft_verl.players import PLAYERS
from rmft_verl.setup.examples import asked_examples
from rmft_verl.setup.hosted import check_hosted, is_hosted
from rmft_verl.setup.verl_overrides import check_overrides
from rmft_verl.store.places import check_name
from rmft_verl.store.tracking import check_backends

LOSSES = (*METHODS, *NUMERIC_LOSSES[1:])


def check(config: Config) -> None:
    """Refuse values and combinations that cannot run; raises ``ConfigError``."""
    for key, low in _LOWEST.items():
        value = _get(config, key)
        if not (value >= low and math.isfinite(value)):
            raise ConfigError(f"{key}={value}: must be at least {low}")
    for key in ("rollout.top_p", "hardware.gpu_memory"):
        if not 0 < _get(config, key) <= 1:
            raise ConfigError(f"{key}={_get(config, key)}: must be above 0 and at most 1")
    for key in ("rollout.temperature", "eval.temperature"):
        if _get(config, key) > HOTTEST:
            raise ConfigError(
                f"{key}={_get(config, key)}: samplers take {HOTTEST:g} at most. To begin with a model that is less "
                "sure, make a copy with rmft-verl soften (docs/pretrained.md)"
            )
    if not config.update.max_grad_norm > 0:
        raise ConfigError(f"update.max_grad_norm={config.update.max_grad_norm}: must be above 0")
    choices: dict[str, Sequence[str]] = {
        "selection.score": tuple(SCORES),
        "selection.group_by": tuple(GROUP_KEYS),
        "selection.accept": RULES,
        "rollout.player": ("model", *PLAYERS),
        "rollout.history": HISTORIES,
        "rollout.on_invalid": ON_INVALID,
        "update.loss": LOSSES,
        "update.schedule": ("constant", "cosine"),
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
    if config.name:
        check_name(config.name)
    check_backends(config.tracking.backends)
    _check_numeric(config)
    _check_selection(config)
    _check_options(config)
    _check_update(config)
    _check_lora(config)
    check_overrides(config)
    check_hosted(config)
    if not is_hosted(config):
        _check_hardware(config)


def _check_hardware(config: Config) -> None:
    world, fsdp = config.hardware.nodes * config.hardware.gpus_per_node, config.verl_override(FSDP_SIZE)
    if fsdp not in (None, -1) and (fsdp < 1 or world % fsdp):
        raise ConfigError(f"verl.{FSDP_SIZE}={fsdp} does not divide {world} GPUs: -1 takes all of them")
    if world % config.hardware.tensor_parallel:
        raise ConfigError(f"hardware.tensor_parallel={config.hardware.tensor_parallel} does not divide {world} GPUs")
    if config.update.batch % world:
        raise ConfigError(f"update.batch={config.update.batch} must be a multiple of the {world} GPUs")
    warmup = config.warmup
    if warmup.scenarios and (warmup.batch % world or warmup.batch > warmup.scenarios):
        raise ConfigError(
            f"warmup.batch={warmup.batch} must be a multiple of the {world} GPUs and at most warmup.scenarios="
            f"{warmup.scenarios}"
        )
    if config.model.context > config.hardware.tokens_per_gpu:
        raise ConfigError(
            f"hardware.tokens_per_gpu={config.hardware.tokens_per_gpu} is less than model.context="
            f"{config.model.context}: one dialogue must fit a forward pass; raise hardware.tokens_per_gpu, or lower "
            "model.context"
        )


def _check_numeric(config: Config) -> None:
    """Refuse keys for models on words if the model reads numbers, and keys for models on numbers otherwise."""
    loss, path = config.update.loss, config.model.path
    if not path.startswith(NUMERIC):
        if loss in NUMERIC_LOSSES[1:]:
            raise ConfigError(
                f"update.loss={loss!r} trains models on numbers, not {path!r}: use model.path=numeric:transformer"
            )
        if config.rollout.perturbation:
            raise ConfigError(
                f"rollout.perturbation={config.rollout.perturbation:g} is for models on numbers, not {path!r}: leave "
                "it out"
            )
        return
    for key, allowed in (
        ("update.loss", NUMERIC_LOSSES),
        ("selection.score", ("regret", "random")),
        ("selection.group_by", ("scenario",)),
        ("selection.accept", ("best",)),
        ("rollout.player", ("model",)),
        ("rollout.history", ("dialogue",)),
        ("rollout.share_rewards", (False,)),
        ("rollout.structured", (False,)),
        ("rollout.examples", (0,)),
        ("update.train_on", ("reply",)),
        ("update.weighting", ("token",)),
        ("update.schedule", ("constant",)),
        ("update.warmup", (0,)),
        ("model.lora.rank", (0,)),
        ("eval.rollouts", (1,)),
        ("warmup.scenarios", (0,)),
    ):
        if _get(config, key) not in allowed:
            raise ConfigError(
                f"{key}={_get(config, key)!r}: with model.path={path} it is one of {', '.join(map(str, allowed))}"
            )
    if config.rollout.tokens:
        raise ConfigError(f"rollout.tokens={config.rollout.tokens}: models on numbers sample no tokens; leave it out")
    if config.selection.threshold is not None:
        raise ConfigError(
            f"selection.threshold={config.selection.threshold}: it does not apply to models on numbers; leave it out"
        )


def _check_selection(config: Config) -> None:
    selection, rollout, rollouts = config.selection, config.rollout, config.rollout.rollouts
    by_model = rollout.player == "model" and not config.model.path.startswith(NUMERIC)
    if by_model and rollout.temperature == 0 and rollouts > 1:
        raise ConfigError(
            f"rollout.temperature=0: with rollout.rollouts={rollouts} the model always decides alike, so a scenario's "
            "plays differ by the luck of its rewards at most; set it above 0"
        )
    if not selection.keep > 0:
        raise ConfigError(f"selection.keep={selection.keep:g}: must be above 0")
    if selection.keep >= 1 and selection.keep != int(selection.keep):
        raise ConfigError(f"selection.keep={selection.keep}: write a whole number, or a share below 1")
    if selection.keep > rollouts:
        raise ConfigError(
            f"selection.keep={selection.keep:g} is more than rollout.rollouts={rollouts}: keep at most what is played, "
            "or play more rollouts"
        )
    if selection.threshold is not None and not math.isfinite(selection.threshold):
        raise ConfigError(f"selection.threshold={selection.threshold}: write a number, or leave it out")
    if selection.further and selection.score != "posterior":
        raise ConfigError(
            f"selection.further={selection.further:g} belongs to selection.score=posterior, not "
            f"{selection.score!r}: leave it out"
        )


def _check_options(config: Config) -> None:
    """Refuse options of one loss that another would ignore."""
    owners: dict[str, list[str]] = {}
    for loss, method in METHODS.items():
        for key in method.options:
            owners.setdefault(key, []).append(loss)
    for key, losses in owners.items():
        value = _get(config, key)
        if config.update.loss not in losses and value != _get(Config(), key):
            raise ConfigError(
                f"{key}={value!r} is an option of update.loss={' and '.join(losses)}, not {config.update.loss!r}: "
                "leave it out"
            )


def _check_update(config: Config) -> None:
    update, rollout = config.update, config.rollout
    per_scenario = samples_per_scenario(config)
    if update.loss in METHODS:
        METHODS[update.loss].check(config)
    if asked_examples(rollout.examples).number and rollout.player != "model":
        raise ConfigError(
            f"rollout.examples={rollout.examples} stand before the model's own trajectories, and rollout.player="
            f"{rollout.player!r}: leave them out"
        )
    if rollout.history == "dialogue" and update.batch > per_scenario * rollout.scenarios:
        raise ConfigError(
            f"update.batch={update.batch} is more than the {per_scenario * rollout.scenarios} samples of an "
            f"iteration ({per_scenario} of each of rollout.scenarios={rollout.scenarios}): lower update.batch"
        )


def _check_lora(config: Config) -> None:
    """Refuse unknown forms of the modules."""
    named = config.model.lora.target_modules
    listed = isinstance(named, (list, tuple)) and named and all(isinstance(name, str) for name in named)
    if named != "all-linear" and not listed:
        raise ConfigError(f"model.lora.target_modules={named!r}: write all-linear, or a list such as [q_proj, v_proj]")


def samples_per_scenario(config: Config) -> int:
    """Trajectories of a scenario that an update trains on, if all are valid."""
    method = METHODS.get(config.update.loss)
    return method.trained(config) if method else config.rollout.rollouts


HOTTEST = 2.0
"""Highest temperature that a sampler takes."""

_LOWEST: dict[str, float] = {
    "seed": 0,
    "iterations": 1,
    "warmup.scenarios": 0,
    "warmup.epochs": 1,
    "warmup.lr": 0.0,
    "warmup.batch": 1,
    "rollout.scenarios": 1,
    "rollout.rollouts": 1,
    "rollout.tokens": 0,
    "rollout.reply_tokens": 1,
    "rollout.temperature": 0.0,
    "rollout.perturbation": 0.0,
    "rollout.timeout": 1.0,
    "selection.further": 0.0,
    "update.lr": 0.0,
    "update.beta": 0.0,
    "update.sft_term": 0.0,
    "update.margin": 0.0,
    "update.penalty": 0.0,
    "update.warmup": 0,
    "model.lora.rank": 0,
    "model.lora.alpha": 1,
    "update.epochs": 1,
    "update.batch": 1,
    "eval.scenarios": 1,
    "eval.rollouts": 1,
    "eval.every": 1,
    "eval.temperature": 0.0,
    "hardware.gpu_gib": 0.0,
    "hardware.nodes": 1,
    "hardware.gpus_per_node": 1,
    "hardware.tensor_parallel": 1,
    "hardware.max_num_seqs": 1,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
    "canary_tolerance": 0.0,
}


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = vars(value)[part]
    return value
