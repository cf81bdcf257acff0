"""Finds the model that a run begins with: ``tiny:NAME``, ``smollm2``, a directory, a hub id or a warmed model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from rmft_verl.bridge.sampling.dialogue import TODAY
from rmft_verl.config import Config, ConfigError
from rmft_verl.setup import smollm2
from rmft_verl.setup.warmup import check_warmed, warmed

TINY = ("mab", "trio")
"""The shipped models (``labs.tiny``): ``mab`` knows that environment's dialogues, ``trio`` those of all three."""

BUILT = ("announced", "unannounced", "weak")
"""Models that are built on the user's machine, as ``tiny:weak-2`` with seed 2, and play ``mab:explore_small``."""

HUB_SECONDS = 5.0
"""How long the hub may take to answer."""


def tiny_path(name: str) -> Path:
    """Directory of a tiny model, in Hugging Face layout: a shipped one, or where ``KIND-SEED`` of ``BUILT`` is kept.

    Raises ``ValueError`` with the known names.
    """
    kind, _, seed = name.partition("-")
    if kind in BUILT and seed.isdecimal():
        return smollm2.path().parent / "tiny" / name
    if name not in TINY:
        known = ", ".join((*TINY, *(f"{kind}-SEED" for kind in BUILT)))
        raise ValueError(f"no tiny model is called {name!r}: choose from {known}.")
    return Path(__file__).resolve().parent.parent / "labs" / "tiny" / name


def base_model(config: Config) -> str:
    """The model that a run begins with: the warmed model if it exists, else ``model.path`` resolved."""
    if config.warmup.scenarios and (warmed(config) / "config.json").is_file():
        check_warmed(config)
        return str(warmed(config).resolve())
    return resolve_model(config.model.path)


def check_hub(path: str) -> None:
    """Raise ``ConfigError`` if the weights of a hub id are neither on this machine nor to be had from the hub."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    with contextlib.suppress(Exception):  # raised if it is not on this machine
        folder = Path(snapshot_download(path, local_files_only=True))
        if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")):
            return
    remedy = "name a model directory, another hub id, smollm2 or tiny:mab"
    try:
        HfApi().model_info(path, timeout=HUB_SECONDS)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ConfigError(f"model.path={path!r}: the hub has no such model, or it is private: {remedy}") from error
    except Exception as error:  # of httpx, the hub's client and the network
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ConfigError(
            f"model.path={path!r}: it is not on this machine, and not to be had from the hub ({reason}): {remedy}"
        ) from error


def check_files(path: str) -> None:
    """Raise ``ConfigError`` for a model directory whose config.json names no architecture, or that lacks weights."""
    directory = Path(path)
    try:
        told = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if not told.get("architectures"):
            raise ConfigError(
                f"model.path={path}: its config.json names no architecture (architectures); save the model with "
                "save_pretrained, or name another one"
            )
        indices = [json.loads(file.read_text(encoding="utf-8")) for file in directory.glob("*.index.json")]
        missing = {
            name for index in indices for name in index["weight_map"].values() if not (directory / name).exists()
        }
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"model.path={path}: its files cannot be read ({error}); copy the model again") from error
    if missing:
        raise ConfigError(
            f"model.path={path}: {len(missing)} of its files of weights are missing, the first is {min(missing)}; copy "
            "the model again"
        )
    if not any(directory.glob("*.safetensors")) and not any(directory.glob("*.bin")):
        raise ConfigError(f"model.path={path}: it holds no weights (*.safetensors); name a whole model")


def chat_template(config: Config) -> str:
    """The text of ``model.chat_template_file``; empty if none is named. Raises ``ConfigError`` if it cannot be read."""
    name = config.model.chat_template_file
    if not name:
        return ""
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.chat_template_file={name}: cannot be read ({error}); name a Jinja file") from error


def dated(config: Config, date: str) -> Config:
    """``config`` with ``date`` as the one that the chat template prints, unless it names one. An empty date changes
    nothing: the template then prints today's.
    """
    if not date or TODAY in config.model.chat_template:
        return config
    model = dataclasses.replace(config.model, chat_template=config.model.chat_template | {TODAY: date})
    return dataclasses.replace(config, model=model)


def resolve_model(path: str) -> str:
    """The directory of ``tiny:NAME``, ``smollm2``, ``smollm2-soft`` or a local model; a hub id stays as it is.

    Raises ``ConfigError`` for an unknown or missing model, or a path that looks like a directory without a model.
    """
    if path.startswith("tiny:"):
        name = path.removeprefix("tiny:")
        try:
            directory = tiny_path(name)
        except ValueError as error:
            raise ConfigError(f"model.path={path!r}: {error}") from error
        if not (directory / "config.json").is_file():
            kind, _, seed = name.partition("-")
            command = f"python -m rmft_verl.labs.tiny {kind} --seed {seed}"
            raise ConfigError(f"model.path={path!r}: it is not on this machine yet; build it with {command}")
        return str(directory)
    if path in (smollm2.NAME, smollm2.SOFT) and not Path(path).exists():
        kept = smollm2.path(path)
        if not (kept / "config.json").is_file():
            raise ConfigError(f"model.path={path!r}: it is not on this machine yet; get it with rmft-verl smollm2")
        return str(kept)
    directory = Path(path).expanduser()
    if (directory / "config.json").is_file():
        return str(directory.resolve())
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if directory.exists() or looks_local:
        raise ConfigError(
            f"model.path={path!r}: no model is there (no config.json). Name a model directory, a hub id such as "
            "Qwen/Qwen3-8B, smollm2 or tiny:mab"
        )
    return path
