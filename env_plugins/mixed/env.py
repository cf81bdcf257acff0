"""A set of scenarios from several environments: each scenario is drawn from one of them and played in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from rmft_verl.env import Env, load_env
from rmft_verl.types import Action, Observation, Oracle, Scenario, StepResult


class MixedGenerator:
    """Draws the environment uniformly, then its scenario.

    ``environments``: name of an installed environment -> options of its own generator. ``ValueError`` if there is none
    or if one of them refuses its options.
    """

    def __init__(self, **environments: Mapping[str, Any]) -> None:
        if not environments:
            raise ValueError("mixed has no environments: name at least one, such as {mab: {}, fol: {}}")
        self._by_name = {name: _generator(name, options) for name, options in environments.items()}

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw one scenario, from ``rng`` alone."""
        generators = list(self._by_name.values())
        scenario: Scenario = generators[int(rng.integers(len(generators)))].draw(rng)
        return scenario

    def prior(self, scenario: Scenario) -> Any:
        """The prior of the scenario's environment; ``AttributeError`` if it has none."""
        return self._by_name[scenario.env].prior(scenario)

    def draw_means(self, scenario: Scenario, rng: np.random.Generator) -> Any:
        """Draw means as the scenario's environment does; ``AttributeError`` if it cannot."""
        return self._by_name[scenario.env].draw_means(scenario, rng)


class MixedEnv:
    """Plays a scenario in the environment it was drawn from."""

    name: ClassVar[str] = "mixed"
    Generator: ClassVar[type] = MixedGenerator

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._env = _loaded(scenario.env)(scenario, seed)

    def reset(self) -> Observation:
        return self._env.reset()

    def parse(self, text: str) -> Action | None:
        return self._env.parse(text)

    def step(self, action: Action) -> StepResult:
        return self._env.step(action)

    def oracle(self) -> Oracle:
        return self._env.oracle()

    def say(self, action: Action) -> Any:
        """The text of the scenario's environment; ``AttributeError`` if it has no ``say``."""
        return self._env.say(action)  # type: ignore[attr-defined]


@cache
def _loaded(name: str) -> type[Env]:
    return load_env(name)


def _generator(name: str, options: Any) -> Any:
    if name == MixedEnv.name:
        raise ValueError("mixed cannot hold itself: name other environments")
    if not isinstance(options, Mapping):
        raise ValueError(f"mixed: {name}={options!r} must be a mapping of options, {{}} for its defaults")
    try:
        return _loaded(name).Generator(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"mixed, {name}: {error}") from error
