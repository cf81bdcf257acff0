"""The environment protocol and the plug-in loader."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from rmft_verl.config import ConfigError
from rmft_verl.types import Action, Observation, Oracle, RunError, Scenario, StepResult

ENTRY_POINT_GROUP = "rmft_verl.environments"

VERBOSE = "RMFT_VERBOSE"
"""Environment variable; 1 shows the traceback above the one line of an error."""


class EnvLoadError(RunError):
    """An environment plug-in is missing, ambiguous, broken or not conformant. The message says which and what to do.

    An exception of the plug-in itself is the ``__cause__``, with its traceback.
    """


class Generator(Protocol):
    """Draws scenarios; built with the recipe's ``env.options`` as keyword arguments."""

    def __init__(self, **options: Any) -> None: ...

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw one scenario, from ``rng`` alone."""
        ...


@runtime_checkable
class Env(Protocol):
    """The game of one episode of one scenario; it is then discarded."""

    name: ClassVar[str]
    Generator: ClassVar[type]
    """Draws scenarios of this environment (see ``Generator``)."""

    def __init__(self, scenario: Scenario, seed: int) -> None: ...

    def reset(self) -> Observation:
        """The first observation."""
        ...

    def parse(self, text: str) -> Action | None:
        """The action that a reply names, or None. Never raises, whatever the text."""
        ...

    def step(self, action: Action) -> StepResult:
        """Play one round."""
        ...

    def oracle(self) -> Oracle:
        """The truth. ``play`` calls it once, when the episode has ended."""
        ...


def load_env(name: str, env_dirs: Sequence[str] = ()) -> type[Env]:
    """The environment class called ``name``.

    ``name`` is an installed plug-in, a drop-in in ``env_dirs``, ``pkg.module:Class``, or the path of a drop-in (with a
    slash or ending in .py). Raises ``EnvLoadError`` naming what was found and what to change.
    """
    place = locate(name, env_dirs)
    return _checked(name, _load_folder(Path(place)) if Path(place).is_absolute() else _load_path(place))


def locate(name: str, env_dirs: Sequence[str] = ()) -> str:
    """Where ``load_env`` finds ``name``: ``pkg.module:Class``, or the absolute path of a drop-in.

    Raises ``EnvLoadError`` as ``load_env``.
    """
    if is_path(name):
        return str(_drop_in(name))
    if ":" in name:
        return name
    found = find_envs(env_dirs)
    if name not in found:
        raise EnvLoadError(
            f"env.name={name!r}: no such environment. Known: {', '.join(sorted(found)) or 'none'}. "
            "Install a plug-in, name its folder (env_dirs, or --env-dir of a command), or write pkg.module:Class."
        )
    return found[name]


def is_path(name: str) -> bool:
    """Whether an environment's name is the path of a drop-in."""
    return "/" in name or name.endswith(".py")


def absolute(folders: Sequence[str]) -> list[str]:
    """``folders`` so that they hold wherever a command is started."""
    return [os.path.abspath(Path(folder).expanduser()) for folder in folders]


def absolute_name(name: str) -> str:
    """The name of an environment that holds wherever a command is started: a path becomes absolute."""
    return absolute([name])[0] if is_path(name) else name


def find_envs(env_dirs: Sequence[str] = ()) -> dict[str, str]:
    """Every environment name and its location: ``pkg.module:Class``, or the path of a drop-in folder or file.

    A drop-in is ``DIR/NAME.py`` or ``DIR/NAME/__init__.py``. Raises ``EnvLoadError`` if a directory is missing or
    two plug-ins share one name.
    """
    found: dict[str, str] = {}

    def add(name: str, where: str) -> None:
        if found.setdefault(name, where) != where:
            raise EnvLoadError(f"two environments are called {name!r}: {found[name]} and {where}. Rename one.")

    for point in entry_points(group=ENTRY_POINT_GROUP):
        add(point.name, point.value)
    for directory in env_dirs:
        root = Path(directory).expanduser()
        if not root.is_dir():
            raise EnvLoadError(f"env_dirs: {directory!r} is not a directory. Name an existing folder.")
        for path in sorted(root.iterdir()):
            if path.suffix == ".py" and not path.name.startswith("_"):
                add(path.stem, str(path.resolve()))
            elif (path / "__init__.py").is_file():
                add(path.name, str(path.resolve()))
    return found


def make_generator(env_class: type[Env], options: Mapping[str, Any]) -> Any:
    """The plug-in's Generator; raises ``ConfigError`` naming the refused option, and the known ones."""
    known = inspect.signature(env_class.Generator).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
    if unknown := [key for key in options if key not in known and not takes_all]:
        raise ConfigError(f"env.options of {env_class.name!r}: {unknown[0]!r} is unknown. Known: {', '.join(known)}")
    try:
        return env_class.Generator(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"env.options of {env_class.name!r}: {error}") from error


def suites(env_class: type[Env]) -> Mapping[str, Mapping[str, Any]]:
    """Named sets of instances for evaluation: name -> Generator options; empty if the plug-in has no ``SUITES``."""
    return env_class.SUITES if hasattr(env_class, "SUITES") else {}


def blame(error: BaseException, source: str = "") -> str:
    """One line about an exception of a plug-in: ``FILE:LINE: ValueError: text``, at the innermost line of its own code.

    Frames of other folders are skipped: the plug-in only called them. ``source`` replaces file and line if none of its
    lines ran.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _ours(frame.filename)]
    if not frames:
        return f"{source}: {text}" if source else text
    folder = Path(frames[0].filename).parent
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    return f"{own[-1].filename}:{own[-1].lineno}: {text}"


def _ours(filename: str) -> bool:
    """Whether a frame belongs to the code that loads and plays plug-ins."""
    return filename.startswith("<") or any(
        Path(filename).is_relative_to(folder)
        for folder in (Path(__file__).parent.parent, Path(importlib.__file__).parent)
    )


def _broken(name: str, error: BaseException, source: str = "") -> EnvLoadError:
    return EnvLoadError(
        f"environment {name!r} cannot be loaded: {blame(error, source)}. Mend that, or leave the plug-in out "
        f"({VERBOSE}=1 shows the whole traceback)."
    )


def _load_path(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise _broken(path, error) from error


def _drop_in(path: str) -> Path:
    found = Path(path).expanduser().resolve()
    if not (found.suffix == ".py" and found.is_file()) and not (found / "__init__.py").is_file():
        raise EnvLoadError(f"no environment at {path!r}: name a .py file or a folder with an __init__.py.")
    return found


def _load_folder(path: Path) -> Any:
    """The one class in the drop-in that has a ``Generator``."""
    name = path.stem if path.suffix == ".py" else path.name
    module_name = f"rmft_verl_dropin_{name}"
    source = path if path.suffix == ".py" else path / "__init__.py"
    spec = importlib.util.spec_from_file_location(module_name, source, submodule_search_locations=[str(path)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for loaded in [key for key in sys.modules if key.startswith(f"{module_name}.")]:
        del sys.modules[loaded]  # left by another folder, or by an earlier version of the file
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise _broken(name, error, str(source)) from error
    own = [value for value in vars(module).values() if inspect.isclass(value) and hasattr(value, "Generator")]
    # A folder re-exports the class of a submodule; a class imported from elsewhere is only a parent.
    classes = [value for value in own if value.__module__.startswith(module_name)]
    if len(classes) != 1:
        raise EnvLoadError(
            f"environment {name!r} ({source}) must define exactly one class with a Generator, found {len(classes)}."
        )
    return classes[0]


def _checked(name: str, env_class: Any) -> type[Env]:
    missing = [
        part for part in ("name", "Generator", "reset", "parse", "step", "oracle") if not hasattr(env_class, part)
    ]
    if missing:
        raise EnvLoadError(f"environment {name!r} lacks {', '.join(missing)}: see docs/write_an_env.md.")
    return env_class  # type: ignore[no-any-return]
