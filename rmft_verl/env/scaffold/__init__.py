"""Writes a new plug-in: a drop-in environment that passes the conformance test and is ready to be changed."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path

from rmft_verl.env import EnvLoadError, find_envs

NAME, CLASS, DIRECTORY = "my_env", "MyEnv", "MY_DIR"
"""Placeholders in the templates for the plug-in's name, class and folder."""


def write_plug_in(name: str, directory: Path, full_information: bool = False) -> Path:
    """Write ``directory/name.py`` and return its path; a missing folder is created.

    Raises ``EnvLoadError`` if the name is not valid for a file and an environment, or is taken.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or name.startswith("_"):
        raise EnvLoadError(f"environment name {name!r}: use letters, digits and _, beginning with a letter.")
    known = find_envs()
    if name in known:
        raise EnvLoadError(f"an environment called {name!r} is installed already ({known[name]}): choose another name.")
    template = "full_information.py.txt" if full_information else "bandit.py.txt"
    return _write(directory / f"{name}.py", template, name, directory)


def write_recipe(name: str, directory: Path) -> Path:
    """Write ``recipes/name.yaml``, which trains on the plug-in in ``directory``, and return its path."""
    return _write(Path("recipes") / f"{name}.yaml", "recipe.yaml.txt", name, directory)


def _write(path: Path, template: str, name: str, directory: Path) -> Path:
    text = (files("rmft_verl.env.scaffold") / template).read_text(encoding="utf-8")
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    own = {NAME: name, CLASS: camel if camel.endswith("Env") else f"{camel}Env", DIRECTORY: str(directory)}
    text = re.sub("|".join(own), lambda found: own[found.group()], text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise EnvLoadError(f"{error.filename} exists already: choose another name, or remove it first.") from error
    except OSError as error:
        raise EnvLoadError(f"{path} cannot be written: {error.strerror}. Choose another folder.") from error
    return path
