"""From ``recipe=NAME key=value ...`` to a checked configuration. Unknown keys and wrong types are refused."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rmft_verl.config import GONE, MOVED, Config, ConfigError, moved
from rmft_verl.env import absolute, absolute_name
from rmft_verl.setup.config_checks import check

LAID = "recipe=mab_tiny+dpo"
"""An example of a recipe over another one."""


def recipe_dirs() -> list[Path]:
    """Directories of recipes, the first match wins: ``./recipes``, then the packaged ones."""
    package = Path(str(files("rmft_verl")))
    packaged = package / "recipes"
    return [Path("recipes"), packaged if packaged.is_dir() else package.parent / "recipes"]


def find_recipes() -> dict[str, Path]:
    """Recipe name -> file."""
    found: dict[str, Path] = {}
    for directory in reversed(recipe_dirs()):
        found |= {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    return found


def recipe_lines() -> list[str]:
    """Every recipe with its first line: those that are whole, then the methods that are laid over one of them."""
    whole: list[str] = []
    laid: list[str] = []
    for name, path in sorted(find_recipes().items()):
        about = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        (whole if _names_a_model(path) else laid).append(f"  {name:18} {about}")
    return ["whole recipes:", *whole, "", f"laid over one of them with +, such as {LAID}:", *laid]


def usage() -> str:
    """How a run is started, for a terminal."""
    return "\n".join(
        [
            "usage: python -m rmft_verl.main recipe=NAME [key=value ...]     train (rmft-verl train ... is the same)",
            "       python -m rmft_verl.main resume=RUN                      go on with a run that was stopped",
            "",
            "for example: python -m rmft_verl.main recipe=mab_tiny dry_run=true",
            "  (dry_run=true: only show the plan; without it the run is made, in minutes on two CPU cores)",
            "",
            *recipe_lines(),
        ]
    )


def _names_a_model(path: Path) -> bool:
    try:
        return "model" in _read(path)
    except ConfigError:  # told when it is used
        return False


def load_config(arguments: Sequence[str]) -> Config:
    """The configuration of ``recipe=NAME key=value ...``; ``NAME+METHOD`` merges the second recipe over the first.

    ``resume=RUN`` or ``fork=RUN`` without a recipe uses the configuration that the run was started with.

    Raises ``ConfigError`` for an unknown recipe or key, a value of the wrong type, or a combination that cannot run.
    """
    given = _parsed(arguments)
    if "recipe" not in given:
        return _merged([*_resumed(given), given])
    recipes = find_recipes()
    layers: list[DictConfig] = []
    for name in str(given.recipe).split("+"):
        if name not in recipes:
            raise ConfigError(f"recipe={name!r}: no such recipe. Known: {', '.join(sorted(recipes))}.")
        layers.append(_read(recipes[name]))
    if not any("model" in layer for layer in (*layers, given)):
        raise ConfigError(
            f"recipe={given.recipe}: it names no model and no game, it is laid over another recipe: recipe=NAME"
            f"+{given.recipe}, such as {LAID} (rmft-verl recipes lists both kinds)"
        )
    return _merged([*layers, given])


def reload_config(path: Path, arguments: Sequence[str]) -> Config:
    """The configuration that a run has written, with ``key=value ...`` merged over it; raises as ``load_config``."""
    return _merged([_read(path), _parsed(arguments)])


def _resumed(given: DictConfig) -> list[DictConfig]:
    for key in ("resume", "fork"):
        if run := given.get(key):
            stored = Path(run).expanduser() / "config.yaml"
            if not stored.is_file():
                raise ConfigError(f"{key}={run}: no run is there (no config.yaml); name one, such as runs/latest")
            layer = _read(stored)
            if key == "fork":
                layer.name = ""
            return [layer]
    return []


def _parsed(arguments: Sequence[str]) -> DictConfig:
    for argument in arguments:
        if "=" not in argument:
            raise ConfigError(
                f"argument {argument!r}: write key=value, for example recipe=mab_tiny; other commands: rmft-verl --help"
            )
        if reason := GONE.get(argument.split("=")[0]):
            raise ConfigError(f"{argument}: this key is gone, since {reason}; leave it out")
    try:
        return OmegaConf.from_dotlist(list(arguments))
    except Exception as error:
        raise ConfigError(f"arguments {' '.join(arguments)!r} cannot be parsed: {_first_line(error)}") from error


def _merged(layers: Sequence[DictConfig]) -> Config:
    tree: Any = OmegaConf.structured(Config)
    for given in layers:
        layer = _moved(given)
        _refuse_unknown(layer)
        try:
            tree = OmegaConf.merge(tree, layer)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{error.full_key}: {_first_line(error)}") from error
    config = OmegaConf.to_object(tree)
    assert isinstance(config, Config)
    config.env_dirs, config.env.name = absolute(config.env_dirs), absolute_name(config.env.name)
    check(config)
    return config


def _moved(layer: DictConfig) -> DictConfig:
    """A layer of a run, a recipe or a command of an earlier version, with today's keys."""
    keys: Any = OmegaConf.to_container(layer)
    return (
        OmegaConf.create(moved(keys))
        if any(OmegaConf.select(layer, old) is not None for old in (*MOVED, *GONE))
        else layer
    )


def _read(path: Path) -> DictConfig:
    try:
        layer = OmegaConf.load(path)
    except Exception as error:
        raise ConfigError(f"recipe file {path} is not valid YAML: {_first_line(error)}") from error
    if not isinstance(layer, DictConfig):
        raise ConfigError(f"recipe file {path} must be a mapping of configuration keys")
    return layer


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def known_keys() -> dict[str, bool]:
    """Dotted key -> whether it is an open mapping, which may hold any key."""
    keys: dict[str, bool] = {}

    def walk(node: Any, prefix: str) -> None:
        for name, value in vars(node).items():
            if hasattr(value, "__dataclass_fields__"):
                walk(value, f"{prefix}{name}.")
                keys[f"{prefix}{name}"] = False
            else:
                keys[f"{prefix}{name}"] = isinstance(value, dict)

    walk(Config(), "")
    return keys


def _refuse_unknown(layer: DictConfig) -> None:
    keys = known_keys()

    def walk(node: Any, prefix: str) -> None:
        for name in node:
            key = f"{prefix}{name}"
            if key not in keys:
                near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(_siblings(prefix, keys))}."
                raise ConfigError(f"unknown key {key!r}. {hint}")
            _refuse_kind(key, node[name], keys)
            if not keys[key] and OmegaConf.is_dict(node[name]):
                walk(node[name], f"{key}.")

    walk(layer, "")


def _refuse_kind(key: str, value: Any, keys: dict[str, bool]) -> None:
    """Refuse a plain value for a group of keys or a list: OmegaConf names neither the key nor the remedy."""
    default: Any = Config()
    for part in key.split("."):
        default = getattr(default, part, None)
    below = _siblings(f"{key}.", keys)
    if below and not OmegaConf.is_dict(value):
        raise ConfigError(f"{key}={value}: {key} is a group of keys, write {below[0]}=... or another of them")
    if isinstance(default, list) and not OmegaConf.is_list(value):
        raise ConfigError(f"{key}={value}: {key} is a list, write {key}=[{value}]")


def _siblings(prefix: str, keys: dict[str, bool]) -> list[str]:
    return [key for key in keys if key.startswith(prefix) and "." not in key[len(prefix) :]]
