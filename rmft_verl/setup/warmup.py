"""The warm-up of a model that cannot name an action yet: a run of the same loop whose player is uniform.

The model imitates that player in the environment's words, so it learns the form of an answer and no strategy. It is the
base of every run with the same model, environment and warm-up under one ``root``, whatever their method and seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rmft_verl.config import CheckpointConfig, Config, RolloutConfig, SelectionConfig, UpdateConfig, WarmupConfig
from rmft_verl.store.env_copy import changed
from rmft_verl.types import RunError, content_hash

PLAYER = "uniform"


def warmup_config(config: Config) -> Config:
    """The run that warms up the model of ``config``: one update on one trajectory of each scenario."""
    warmup, rollout = config.warmup, config.rollout
    warm = Config(
        iterations=1,
        env=config.env,
        env_dirs=config.env_dirs,
        model=config.model,
        rollout=RolloutConfig(
            scenarios=warmup.scenarios,
            rollouts=1,
            reply_tokens=rollout.reply_tokens,
            history=rollout.history,
            on_invalid=rollout.on_invalid,
            player=PLAYER,
        ),
        selection=SelectionConfig(keep=1),
        update=UpdateConfig(lr=warmup.lr, epochs=warmup.epochs, batch=warmup.batch),
        eval=dataclasses.replace(config.eval, every=1),
    )
    told = dataclasses.replace(warm, env_dirs=[])  # the files in them count, not where they lie: check_warmed
    found = content_hash(_changed(dataclasses.asdict(told), dataclasses.asdict(Config())))
    return dataclasses.replace(
        warm,
        recipe=config.recipe,
        root=config.root,
        name=f"warmup-{found[:8]}",
        hardware=config.hardware,
        checkpoint=CheckpointConfig(keep=1),
        canary_tolerance=config.canary_tolerance,
        verl=config.verl,
        warmup=WarmupConfig(),
    )


def warmed(config: Config) -> Path:
    """The directory of the warmed model, whether it exists or not."""
    warm = warmup_config(config)
    return Path(warm.root).expanduser() / warm.name / "checkpoints" / "final"


def check_warmed(config: Config) -> None:
    """Raise ``RunError`` if the warmed model of ``config`` learned in another version of its environment."""
    run = warmed(config).parents[1]
    if names := changed(run, config):
        raise RunError(
            f"{run}: the base was warmed up with another {', '.join(names)}: remove it (rm -r {run}), or choose "
            "another root=..."
        )


def _changed(config: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the defaults: a key that a later version adds makes no new base."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(default.get(key), Mapping):
            value = _changed(value, default[key])
            if value:
                found[key] = value
        elif value != default.get(key):
            found[key] = value
    return found
