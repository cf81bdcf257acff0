"""Directories of weights. They are written whole or not at all, with checksums, and old ones are removed.

checkpoints/step_NNN   the trainer's state after update NNN      checkpoints/final   the trained model
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rmft_verl.store.places import RunDirError
from rmft_verl.store.run_dir import sync, write_text

MANIFEST = "sha256.json"
"""File with the size and the SHA-256 of every other file of a checkpoint."""

CHUNK = 1 << 22
"""Bytes hashed at a time."""


def step(checkpoints: Path, n: int) -> Path:
    """The directory of the trainer's state after ``n`` updates."""
    return checkpoints / f"step_{n:03d}"


def steps(checkpoints: Path) -> list[int]:
    """The updates after which the trainer's state is on disk, in order."""
    found = (path.name.removeprefix("step_") for path in checkpoints.glob("step_*") if path.is_dir())
    return sorted(int(number) for number in found if number.isdecimal())


def write_directory(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a directory beside ``path``, add the manifest, and replace ``path`` by it."""
    begin_directory(path, write)()


def begin_directory(path: Path, write: Callable[[Path], None]) -> Callable[[], None]:
    """The first part of ``write_directory``: what ``write`` has written is hashed and forced to disk in the background.

    What is returned does the second part, once: it waits for that, adds the manifest and replaces ``path``.
    """
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    files = _files(partial)
    pool = ThreadPoolExecutor()  # hashing and syncing both release the interpreter's lock
    sums = [pool.submit(_checksum, file) for file in files]
    synced = [pool.submit(sync, file) for file in files]

    def end() -> None:
        with pool:
            entries = [
                {"size": file.stat().st_size, "sha256": checksum.result()}
                for file, checksum in zip(files, sums, strict=True)
            ]
            for each in synced:
                each.result()
        names = [file.relative_to(partial).as_posix() for file in files]
        write_text(partial / MANIFEST, json.dumps(dict(zip(names, entries, strict=True)), indent=1) + "\n")
        remove(path)
        partial.rename(path)
        sync(path.parent)

    return end


def verify(path: Path, remedy: str) -> None:
    """Raise ``RunDirError`` if a file of the directory is damaged. The message names it and ends in ``remedy``."""
    try:
        entries = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = [path / name for name in entries]
        for file, entry in zip(files, entries.values(), strict=True):
            if (size := file.stat().st_size) != entry["size"]:
                raise ValueError(f"{file.relative_to(path)} has {size} bytes, not {entry['size']}")
        with ThreadPoolExecutor() as pool:
            sums = list(pool.map(_checksum, files))
        for file, entry, found in zip(files, entries.values(), sums, strict=True):
            if found != entry["sha256"]:
                raise ValueError(f"{file.relative_to(path)} does not have its checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunDirError(f"{path} is damaged ({error}): {remedy}") from error


def verify_final(path: Path) -> None:
    """``verify`` for the trained model of a run. A model without a manifest, as older runs have, passes."""
    if (path / MANIFEST).exists():
        verify(path, f"restore it, or remove it (rm -r {path}) and start the run again, which writes it anew")


def prune(checkpoints: Path, keep: int, spared: int | None = None) -> None:
    """Remove all states of the trainer but the last ``keep`` and the one after update ``spared``."""
    for n in steps(checkpoints)[:-keep]:
        if n != spared:
            remove(step(checkpoints, n))


def remove(path: Path) -> None:
    """Remove a directory if it exists. A crash leaves no half of it under its name."""
    if path.exists():
        leaving = path.with_name(path.name + ".old.partial")
        shutil.rmtree(leaving, ignore_errors=True)
        path.rename(leaving)
        shutil.rmtree(leaving)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
