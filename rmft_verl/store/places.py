"""Names and places that can be written, checked before anything is made there."""

from __future__ import annotations

import os
from pathlib import Path

from rmft_verl.types import RunError

LATEST = "latest"
"""Name of the link beside the run directories to the newest one."""


class RunDirError(RunError):
    """A run directory cannot be made, or a file in it cannot be read. The message is one line with the remedy."""


def check_name(name: str) -> None:
    """Raise ``RunDirError`` unless a directory below ``root`` can be called ``name``."""
    if name in ("", ".", "..", LATEST) or Path(name).name != name or len(os.fsencode(name)) > 200:
        raise RunDirError(
            f"name={name!r} is not a plain directory name: choose another name=..., short and without a slash"
        )


def check_place(path: Path, remedy: str = "name another place", *, folder: bool = False) -> None:
    """Raise ``RunDirError`` if nothing can be made at ``path``, or, if it is a ``folder``, in it.

    Missing parents can be made.
    """
    try:
        whole = path.expanduser().absolute()
        parent = next(parent for parent in (*([whole] * folder), *whole.parents) if parent.exists())
    except OSError as error:  # a name that is too long, or below a folder that may not be read
        raise RunDirError(f"{path} cannot be written ({error.strerror}): {remedy}") from error
    if not parent.is_dir():
        raise RunDirError(f"{path} cannot be written ({parent} is not a directory): {remedy}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunDirError(f"{path} cannot be written ({parent} is closed to you): {remedy}")
