"""Targets of an evaluation: the game of an environment, of a suite of its instances or of a recipe; its scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from rmft_verl.env import Env, find_envs, load_env, make_generator, suites
from rmft_verl.env.play import play_now
from rmft_verl.env.seeds import draw_held_out, episode_seeds
from rmft_verl.eval.algorithms import references
from rmft_verl.eval.options import generator_options
from rmft_verl.players import make_player
from rmft_verl.setup.recipe import find_recipes, load_config
from rmft_verl.types import RolloutRequest, RunError, Scenario


@dataclass(frozen=True)
class Target:
    """One environment with the options of its generator. ``name`` is what the user wrote, as of ``parse_targets``."""

    name: str
    env_name: str
    env_class: type[Env]
    options: dict[str, Any]

    def scenarios(self, n: int, seed: int) -> list[Scenario]:
        """The first ``n`` scenarios of ``seed``; a larger ``n`` keeps the earlier ones.

        With a recipe's held-out options and the seed 0 they are the held-out scenarios of its training runs.
        """
        return draw_held_out(self.env_class, self.options, n, seed)

    def requests(self, n: int, episodes: int, seed: int, temperature: float = 1.0) -> list[RolloutRequest]:
        """One request per episode, the same for every player, ordered by scenario."""
        return [
            RolloutRequest(scenario, *episode_seeds(seed, index, episode), temperature=temperature)
            for index, scenario in enumerate(self.scenarios(n, seed))
            for episode in range(episodes)
        ]

    def references(self, scenarios: Sequence[Scenario]) -> tuple[str, ...]:
        """The reference players of its games. ``RunError`` if uniform play fails."""
        kinds: list[str] = []
        for scenario in {scenario.env: scenario for scenario in scenarios}.values():
            player = make_player("uniform", np.random.default_rng(0))
            played = play_now(self.env_class, player, scenario, reward_seed=0, policy_seed=0)
            if played.error:
                raise RunError(f"{self.name}: uniform play fails: {played.error.strip().splitlines()[-1]}")
            kinds.append(played.oracle.kind)
        return references(self.env_class, scenarios, kinds)


def parse_targets(texts: Sequence[str], options: Mapping[str, Any], env_dirs: Sequence[str]) -> list[Target]:
    """The targets of ``ENV``, ``ENV:SUITE`` and ``RECIPE``, each with own options behind it: ``mab horizon=[40]``.

    ``ENV`` is anything that ``load_env`` takes; a recipe's game is the held-out one. ``options`` override those of a
    suite or recipe, a target's own both. Raises ``RunError`` for an unknown environment, suite or option, naming the
    known ones.
    """
    targets: list[Target] = []
    for text in dict.fromkeys(texts):
        name, suite, own = split(text)
        env_name, given = _game(name, env_dirs)
        env_class = load_env(env_name, env_dirs)
        known_suites = suites(env_class) if env_name == name else {}
        if suite and suite not in known_suites:
            known = ", ".join(known_suites) or f"none, evaluate {name} itself"
            raise RunError(f"target {text!r}: {name} has no suite {suite!r}. Known: {known}.")
        merged = given | dict(known_suites[suite] if suite else {}) | dict(options) | generator_options(own)
        make_generator(env_class, merged)
        targets.append(Target(text, env_name, env_class, merged))
    return targets


def _game(name: str, env_dirs: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Environment and options of a recipe's held-out game; any other name is that of an environment."""
    if name in find_envs(env_dirs) or name not in find_recipes():
        return name, {}
    env = load_config([f"recipe={name}"]).env
    return env.name, env.options | env.eval_options


def split(text: str) -> tuple[str, str, list[str]]:
    """Environment or recipe, suite or nothing, and options of a target; ``pkg.module:Class`` keeps its own colon."""
    words = text.split(" ")
    own = list(takewhile(lambda word: word.partition("=")[0].isidentifier() and "=" in word, reversed(words)))[::-1]
    first, _, rest = " ".join(words[: len(words) - len(own)]).partition(":")
    if "." in first and "/" not in first and not first.endswith(".py"):
        attribute, _, suite = rest.partition(":")
        return f"{first}:{attribute}", suite, own
    return first, rest, own
