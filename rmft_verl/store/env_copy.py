"""RUN/env: the environment's source files as they were when a run began. All that comes later is computed with them.

A run of an earlier version has no such folder and goes on with whatever is installed or lies in ``env_dirs``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rmft_verl.config import BALL, Config
from rmft_verl.env import Env, EnvLoadError, is_path, load_env
from rmft_verl.env.source import Source, find_source, load_copy, meaning
from rmft_verl.store.run_dir import write_text
from rmft_verl.types import RunError

FOLDER = "env"
MANIFEST = "source.json"
"""File in ``FOLDER`` with the environment's location and the SHA-256 of every file."""


def keep(path: Path, config: Config) -> None:
    """Copy the source of a run's environment into the run at ``path``. Raises ``EnvLoadError`` if there is none."""
    source = _asked(config)
    copies = {name: path / FOLDER / name for name in source.files}
    for folder in dict.fromkeys(copy.parent for copy in copies.values()):
        folder.mkdir(parents=True, exist_ok=True)
    for name, copy in copies.items():
        shutil.copyfile(source.files[name], copy)
    sums = {name: _checksum(copy) for name, copy in copies.items()}
    text = json.dumps({"location": source.location, "sha256": sums}, indent=1)
    write_text(path / FOLDER / MANIFEST, f"{text}\n")


def kept(path: Path) -> Source | None:
    """The source that the run at ``path`` keeps; None for a run of an earlier version.

    Raises ``RunError`` if a file of it is missing or differs from what was copied.
    """
    folder = path / FOLDER
    if not (folder / MANIFEST).is_file():
        return None
    try:
        noted: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        damaged = [name for name, wanted in noted["sha256"].items() if _checksum(folder / name) != wanted]
        files = {name: folder / name for name in noted["sha256"]}
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{folder} cannot be read ({error}): restore it") from error
    if damaged:
        raise RunError(f"{folder / damaged[0]} is not what the run was begun with: restore it")
    return Source(str(noted["location"]), files)


def changed(path: Path, config: Config) -> list[str]:
    """The source files of the environment of ``config`` that say something else than those that the run keeps."""
    before = kept(path)
    if before is None:
        return []
    now = _asked(config)
    return [name for name in {**before.files, **now.files} if _said(before, name) != _said(now, name)]


def check_source(path: Path, config: Config) -> None:
    """Raise ``RunError`` if a run would go on with another source of its environment than the one it keeps."""
    try:
        names = changed(path, config)
    except EnvLoadError as error:
        raise RunError(f"{error} {path} goes on with the copy that it keeps: env_dirs=[{path / FOLDER}]") from error
    if not names:
        return
    new = "choose another name=... to begin a run with the change"
    before = kept(path)
    if before is not None and ":" not in before.location:
        again = (
            f"env.name={path / FOLDER / before.location}" if is_path(config.env.name) else f"env_dirs=[{path / FOLDER}]"
        )
        raise RunError(f"{path} was started with another {_listed(names)}: go on as before with {again}, or {new}")
    raise RunError(
        f"{path} was started with another {_listed(names)} (kept in {path / FOLDER}): restore that version, or {new}"
    )


def same_place(path: Path, stored: Mapping[str, Any], asked: Config) -> dict[str, Any]:
    """``stored`` with the places of ``asked`` for a drop-in that the run keeps: its files count, not where they lie."""
    if kept(path) is None:
        return dict(stored)
    moved: dict[str, Any] = {"env_dirs": asked.env_dirs}
    if is_path(asked.env.name) and is_path(str(stored.get("env.name", ""))):
        moved["env.name"] = asked.env.name
    return {**stored, **moved}


@contextmanager
def as_begun(path: Path, name: str, env_dirs: Sequence[str]) -> Iterator[type[Env]]:
    """The environment of the run at ``path``, called ``name``, as the run keeps it.

    Within the block, imports of its package give what was kept too. Without a copy it is ``load_env(name, env_dirs)``.
    """
    source = kept(path)
    if source is None:
        yield load_env(name, env_dirs)
        return
    with load_copy(path / FOLDER, source.location) as env_class:
        yield env_class


def from_copy(path: Path, config: Config) -> Config:
    """``config`` with the copy that the run keeps in place of a drop-in, which may change while the run goes on."""
    source = kept(path)
    if source is None or ":" in source.location:
        return config
    if is_path(config.env.name):
        env = dataclasses.replace(config.env, name=str(path / FOLDER / source.location))
        return dataclasses.replace(config, env=env)
    return dataclasses.replace(config, env_dirs=[str(path / FOLDER)])


def fingerprint(path: Path, stored: Mapping[str, Any]) -> str:
    """Equal for runs whose environments have sources of one meaning; of a run without a copy, the source of today.

    ``stored``: the run's configuration by dotted key. Empty for a game that is no environment.
    """
    if stored["env.name"] == BALL:
        return ""
    options = [key.split(".")[2] for key in stored if key.startswith(("env.options.", "env.eval_options."))]
    return (kept(path) or find_source(stored["env.name"], stored.get("env_dirs", ()), options)).fingerprint


def _asked(config: Config) -> Source:
    return find_source(config.env.name, config.env_dirs, [*config.env.options, *config.env.eval_options])


def _said(source: Source, name: str) -> str | None:
    return meaning(source.files[name]) if name in source.files else None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
