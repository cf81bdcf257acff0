"""The source files of an environment plug-in, to keep a copy of them and to load that copy later."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rmft_verl.env import Env, EnvLoadError, find_envs, load_env, locate
from rmft_verl.types import content_hash


@dataclass(frozen=True)
class Source:
    """Where an environment is loaded from, and the files that say what it does."""

    location: str
    """``pkg.module:Class``, or the name of a drop-in's file or folder."""
    files: Mapping[str, Path]
    """Name in a copy -> the file, sorted by name."""

    @property
    def fingerprint(self) -> str:
        """Equal for sources of equal ``meaning``."""
        return content_hash({name: meaning(path) for name, path in self.files.items()})


def find_source(name: str, env_dirs: Sequence[str] = (), options: Iterable[str] = ()) -> Source:
    """The source of the environment that ``load_env(name, env_dirs)`` loads.

    A drop-in is its file, or all files of its folder. A plug-in of a package is its module and what that imports of the
    same package. ``options``: keys of ``env.options``; those that name an installed environment, as those of ``mixed``
    do, are part of it. Raises ``EnvLoadError`` if there is no such environment.
    """
    place = locate(name, env_dirs)
    if Path(place).is_absolute():
        return Source(Path(place).name, _drop_in_files(Path(place)))
    installed = find_envs()
    places = [place, *(installed[key] for key in options if key in installed)]
    files = {key: path for one in places for key, path in _package_files(one.partition(":")[0]).items()}
    return Source(place, dict(sorted(files.items())))


def meaning(path: Path) -> str:
    """What a file says: Python without comments and layout, any other file byte by byte."""
    data = path.read_bytes()
    try:
        return ast.dump(ast.parse(data)) if path.suffix == ".py" else data.hex()
    except (SyntaxError, ValueError):
        return data.hex()


@contextmanager
def load_copy(folder: Path, location: str) -> Iterator[type[Env]]:
    """The environment of a copy at ``folder``. Within the block, imports of its package give the copy too.

    Raises ``EnvLoadError`` as ``load_env``.
    """
    if (folder / location).exists():
        yield load_env(str(folder / location))
        return
    top = location.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top)
    live = _taken_out(top)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        env_class, package = load_env(location), sys.modules[top]
        if spec is not None and spec.submodule_search_locations:  # for modules that the copy does not need
            package.__path__ = [*package.__path__, *spec.submodule_search_locations]
        yield env_class
    finally:
        sys.path.remove(str(folder))
        _taken_out(top)
        sys.modules.update(live)
        importlib.invalidate_caches()


def _taken_out(top: str) -> dict[str, ModuleType]:
    """Remove a package from the loaded modules; returns what was removed."""
    names = [name for name in sys.modules if name == top or name.startswith(f"{top}.")]
    return {name: sys.modules.pop(name) for name in names}


def _drop_in_files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.name: path}
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    named = {file.relative_to(path.parent): file for file in inside}
    hidden = [name for name in named if any(part.startswith(".") or part == "__pycache__" for part in name.parts[1:])]
    return {name.as_posix(): file for name, file in named.items() if name not in hidden}


def _package_files(module: str) -> dict[str, Path]:
    """The file of a module, and those of its package that it imports, directly or not."""
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise EnvLoadError(f"environment {module!r}: no package {top!r} is installed.")
    roots = [Path(root).parent for root in spec.submodule_search_locations or ()] or [Path(str(spec.origin)).parent]
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        parts = todo.pop().split(".")
        for end in range(1, len(parts) + 1):
            for root in roots:
                for file in (
                    root.joinpath(*parts[:end], "__init__.py"),
                    root.joinpath(*parts[:end]).with_suffix(".py"),
                ):
                    name = file.relative_to(root).as_posix()
                    if file.is_file() and name not in found:
                        found[name] = file
                        package = parts[:end] if file.name == "__init__.py" else parts[: end - 1]
                        todo += [one for one in _imports(file, package) if one.partition(".")[0] == top]
    return found


def _imports(file: Path, package: Sequence[str]) -> Iterator[str]:
    """Dotted names that a file of ``package`` imports: modules, or names in them."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)
