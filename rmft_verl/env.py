"""The environment protocol, the plug-in loader and the conformance check."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from rmft_verl.types import Action, Observation, Oracle, RunError, Scenario, StepResult

ENTRY_POINT_GROUP = "rmft_verl.environments"


class EnvLoadError(RunError):
    """An environment plug-in is missing, ambiguous, broken or not conformant. The message says which and what to do."""


class Generator(Protocol):
    """Draws scenarios. Built with the recipe's ``env.options`` as keyword arguments."""

    def __init__(self, **options: Any) -> None: ...

    def draw(self, rng: np.random.Generator) -> Scenario:
        """One scenario, a function of ``rng`` alone."""
        ...


@runtime_checkable
class Env(Protocol):
    """One single-use game: one scenario, one play, then discarded."""

    name: ClassVar[str]
    Generator: ClassVar[type]
    """The scenario sampler of this environment (see ``Generator``)."""

    def __init__(self, scenario: Scenario, seed: int) -> None: ...

    def reset(self) -> Observation:
        """The first observation."""
        ...

    def parse(self, text: str) -> Action | None:
        """The action a reply names, or None if there is none. Never raises, whatever the text."""
        ...

    def step(self, action: Action) -> StepResult:
        """Play one round."""
        ...

    def oracle(self) -> Oracle:
        """The truth. Asked for once, when the play has ended."""
        ...


def load_env(name: str, env_dirs: Sequence[str] = ()) -> type[Env]:
    """The environment class called ``name``: ``pkg.module:Class``, a drop-in folder's, or an installed plug-in's.

    Raises ``EnvLoadError`` naming what was found and what to change.
    """
    if ":" in name:
        return _checked(name, _load_path(name))
    found = find_envs(env_dirs)
    if name not in found:
        raise EnvLoadError(
            f"env.name={name!r}: no such environment. Known: {', '.join(sorted(found)) or 'none'}. "
            "Install a plug-in, name its folder in env_dirs, or write pkg.module:Class."
        )
    return _checked(name, _load_path(found[name]) if ":" in found[name] else _load_folder(name, Path(found[name])))


def find_envs(env_dirs: Sequence[str] = ()) -> dict[str, str]:
    """Every environment name with where it lives: ``pkg.module:Class`` or the path of a drop-in folder or file.

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


def _load_path(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise EnvLoadError(f"environment {path!r} cannot be loaded:\n{traceback.format_exc()}") from error


def _load_folder(name: str, path: Path) -> Any:
    """The one class in the drop-in that has a ``Generator``."""
    module_name = f"rmft_verl_dropin_{name}"
    source = path if path.suffix == ".py" else path / "__init__.py"
    spec = importlib.util.spec_from_file_location(module_name, source, submodule_search_locations=[str(path)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise EnvLoadError(f"environment {name!r} ({source}) cannot be loaded:\n{traceback.format_exc()}") from error
    own = [value for value in vars(module).values() if inspect.isclass(value) and hasattr(value, "Generator")]
    # A folder re-exports the class of a submodule; a class imported from elsewhere is only a parent.
    classes = [value for value in own if value.__module__.startswith(module_name)]
    if len(classes) != 1:
        raise EnvLoadError(
            f"environment {name!r} ({source}) must define exactly one class with a Generator, found {len(classes)}."
        )
    return classes[0]


def _checked(name: str, env_class: Any) -> type[Env]:
    missing = [part for part in ("Generator", "reset", "parse", "step", "oracle") if not hasattr(env_class, part)]
    if missing:
        raise EnvLoadError(f"environment {name!r} lacks {', '.join(missing)}: see docs/write_an_env.md.")
    return env_class  # type: ignore[no-any-return]


def check_env(env_class: type[Env], options: dict[str, Any] | None = None, episodes: int = 20) -> None:
    """The conformance test for plug-in authors: raises ``EnvLoadError`` with the first rule that is broken.

    Checked: equal seeds give equal scenarios and equal observations; scenarios survive JSON; no reply makes ``parse``
    raise; the episode lasts the horizon; rewards are finite; the oracle has one row a round.
    """
    generator = env_class.Generator(**(options or {}))
    for seed in range(episodes):
        scenario = generator.draw(np.random.default_rng(seed))
        _require(scenario == generator.draw(np.random.default_rng(seed)), "draw(rng) must depend on rng alone")
        _require(Scenario.from_json(scenario.to_json()).id == scenario.id, "a scenario must survive JSON")
        first, second = _transcript(env_class, scenario, seed), _transcript(env_class, scenario, seed)
        _require(first == second, "equal seeds must give equal observations")


def _transcript(env_class: type[Env], scenario: Scenario, seed: int) -> list[str]:
    env, rng = env_class(scenario, seed), np.random.default_rng(seed)
    observation: Observation | None = env.reset()
    lines: list[str] = []
    rounds = 0
    for text in ("", "nonsense", "\x00\udcff", "Action: " * 1000, "```json\n{", "Action: \u202e\n" * 50):
        try:
            env.parse(text)
        except Exception as error:
            raise EnvLoadError(f"not a conformant environment: parse({text[:20]!r}) raised {error!r}.") from error
    while observation is not None:
        spec = observation.spec
        lines += [message.content for message in observation.messages]
        uniform = (1.0 / spec.n_actions,) * spec.n_actions
        result = env.step(uniform if spec.full_information else int(rng.integers(spec.n_actions)))
        _require(np.isfinite(result.reward), "rewards must be finite numbers")
        _require(result.done == (result.observation is None), "done must mean that no observation follows")
        observation, rounds = result.observation, rounds + 1
    _require(rounds == scenario.horizon, f"the episode lasted {rounds} rounds, the horizon is {scenario.horizon}")
    oracle = env.oracle()
    _require(
        oracle.expected_T_A.shape == (scenario.horizon, len(scenario.actions)),
        f"oracle.expected_T_A has shape {oracle.expected_T_A.shape}, not (horizon, actions)",
    )
    return lines


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise EnvLoadError(f"not a conformant environment: {rule}.")
