"""The strategies that a home-made base mixes, each played alone: what an ideal reweighting of them would reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from rmft_verl.env.play import Player, run_now
from rmft_verl.eval import metrics
from rmft_verl.eval.algorithms import play_request
from rmft_verl.eval.compare.numbers import Arms, Comparison, Line, base_of
from rmft_verl.eval.compare.references import requests_of
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.table import summarize
from rmft_verl.store.env_copy import as_begun
from rmft_verl.types import Trajectory

Habits = Callable[[str, str], Mapping[str, Callable[[int], Player]]]
"""(``model.path``, environment) -> the habits of that base, each a player of a seed; empty if they are not known."""


def no_habits(model: str, env: str) -> Mapping[str, Callable[[int], Player]]:
    """Nothing is known of what a base was made of."""
    return {}


def with_habits(comparisons: Sequence[Comparison], arms: Arms, habits: Habits) -> list[Comparison]:
    """The comparisons with a last line: the best habit of the base."""
    return [dataclasses.replace(one, lines=(*one.lines, *_lines(one.environment, arms, habits))) for one in comparisons]


def _lines(environment: str, arms: Arms, habits: Habits) -> list[Line]:
    """The best habit of the bases: one line for every set of habits and of scenarios."""
    groups: dict[tuple[frozenset[str], tuple[str, ...]], Outcome] = {}
    for runs in arms.values():
        known = tuple(habits(str(runs[0].config.get("model.path", "")), environment))
        if known and environment in runs[0].environments:
            groups.setdefault((runs[0].measured_on, known), runs[0])
    lines = []
    for run in groups.values():
        name, plays = best_habit(run, environment, habits)
        (row,) = summarize({f"best habit of the {base_of(run.label, len(groups))}: {name}": plays}).rows
        lines.append(Line(kind="reference", row=row))
    return lines


def best_habit(outcome: Outcome, environment: str, habits: Habits) -> tuple[str, list[Trajectory]]:
    """The habit of the run's base with the lowest regret on the held-out scenarios of an environment, and its plays.

    Episodes of a base that plays one habit each have a mean regret between those of the habits. So this is the least
    that any reweighting of them can reach which does not look at the scenario.
    """
    players = habits(str(outcome.config["model.path"]), environment)
    requests = requests_of(outcome, environment)
    begun = as_begun(outcome.path, outcome.config["env.name"], outcome.config.get("env_dirs", ()))
    with begun as env_class:

        async def play_all(made: Callable[[int], Player]) -> list[Trajectory]:
            return [await play_request(env_class, made(one.policy_seed), one) for one in requests]

        found = {name: run_now(play_all(made)) for name, made in players.items()}
    name = min(found, key=lambda one: metrics.normalized_regret(found[one]))
    return name, found[name]
