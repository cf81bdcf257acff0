"""Compares the configuration of a run directory with the one that is asked for now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rmft_verl.config import HOSTED, NUMERIC, Config, moved
from rmft_verl.env import absolute, absolute_name
from rmft_verl.store import env_copy
from rmft_verl.store.run_dir import RunDir, installed_packages
from rmft_verl.store.tracking import warn
from rmft_verl.types import RunError

PLACE_AND_PRICE = ("base_url", "key_env", "budget", "price_in", "price_out", "price_train", "poll", "patience")
NOT_COMPARED = (
    *("recipe", "name", "root", "resume", "fork", "dry_run", "tracking", "checkpoint", "rollout.timeout"),
    *(f"hosted.{name}" for name in PLACE_AND_PRICE),
)
"""Keys that do not change a run's numbers."""

MACHINE = "hardware"
"""Keys of the machine, which a run may change on its way: its numbers go on the same but for rounding."""

ABSENT = "(no such key)"


def stored_config(path: Path) -> dict[str, Any]:
    """A run's config.yaml with whatever keys it has, in the form of ``flat``."""
    try:
        read: Any = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"))
        return flat(moved(read))
    except Exception as error:  # errors of YAML and OmegaConf
        raise RunError(f"{path / 'config.yaml'} cannot be read ({str(error).splitlines()[0]}): restore it") from error


def on_numbers(path: Path) -> bool:
    """Whether the model of a run reads numbers, not words (``rmft_verl.labs.numeric``); raises as ``RunDir.open``."""
    return str(stored_config(RunDir.open(path).path).get("model.path", "")).startswith(NUMERIC)


def refuse_numbers(path: Path) -> None:
    """Raise ``RunError`` for a run whose model reads numbers: it cannot be exported or play in words."""
    if on_numbers(path):
        raise RunError(f"the model of {path} reads numbers, not words: its results are in {path / 'report'}")


def refuse_hosted(path: Path) -> None:
    """Raise ``RunError`` for a run whose model a provider keeps: it can be sampled, but not copied."""
    stored = stored_config(RunDir.open(path).path)
    if not str(stored.get("model.path", "")).startswith(HOSTED):
        return
    final = Path(path) / "checkpoints" / "final" / "hosted.json"
    told = json.loads(final.read_text(encoding="utf-8")) if final.is_file() else {}
    name, url = told.get("model", "NAME"), told.get("base_url", "URL")
    raise RunError(
        f"the weights of {path} are its provider's: play its model with rmft-verl eval ... --players api:{name} "
        f"--base-url {url}, or take what it kept with rmft-verl export {path} --format chat-jsonl"
    )


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys. An empty mapping has no key."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differences(stored: Mapping[str, Any], asked: Config) -> list[str]:
    """``key=stored, now asked`` for every compared key that differs. A key newer than the run had its default."""
    now, default = (flat(OmegaConf.to_container(OmegaConf.structured(config))) for config in (asked, Config()))
    before = {**default, **stored}
    before["env_dirs"], before["env.name"] = absolute(before["env_dirs"]), absolute_name(str(before["env.name"]))
    keys = [key for key in {**before, **now} if not {key, key.split(".")[0]} & set(NOT_COMPARED)]
    pairs = [(key, before.get(key, ABSENT), now.get(key, ABSENT)) for key in keys]
    return [f"{key}={old}, now {new}" for key, old, new in pairs if old != new]


def check_same(run: RunDir, asked: Config) -> None:
    """Raise ``RunError`` with the difference if a run was started with another configuration or environment.

    ``iterations`` may be larger than before: the run then continues after its last one. Another machine (``MACHINE``)
    or other package versions only cause a warning.
    """
    stored = stored_config(run.path)
    longer = asked.iterations > stored.get("iterations", asked.iterations)
    placed = env_copy.same_place(run.path, stored, asked)
    found = differences(placed | ({"iterations": asked.iterations} if longer else {}), asked)
    machine = [line for line in found if line.startswith(f"{MACHINE}.")]
    if changed := [line for line in found if line not in machine]:
        raise RunError(
            f"{run.path} was started with {'; '.join(changed)}: start it as before to go on, or choose another name=..."
            f" (with fork={run.path}, to begin from its last complete iteration)"
        )
    env_copy.check_source(run.path, asked)
    if machine:
        warn(f"{run.path} was started with {'; '.join(machine)}: it goes on, with other rounding")
    before, now = run.read_packages(), installed_packages()
    moved = [f"{k} {before.get(k)} -> {now.get(k)}" for k in {**before, **now} if before.get(k) != now.get(k)]
    if moved:
        warn(f"{run.path} was started with other versions: {', '.join(moved)}")
