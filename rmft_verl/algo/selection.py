"""Which plays are trained on: group, rank, keep. Pure functions of data; the config only names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rmft_verl.env.regret import uniform_regret
from rmft_verl.types import Scored, Trajectory

GROUP_KEYS: dict[str, Callable[[Trajectory], str]] = {
    "scenario": lambda trajectory: trajectory.scenario.id,
    "instance": lambda trajectory: trajectory.scenario.instance_id,
    "all": lambda trajectory: "all",
}
"""What is compared with what: rollouts of one scenario (game and words), of one hidden game, or all of them."""


def count(keep: float, rollouts: int) -> int:
    """k: ``keep`` itself from 1 on, below 1 that share of the ``rollouts`` of a scenario, at least one."""
    return int(keep) if keep >= 1 else max(1, round(keep * rollouts))


def select(
    scored: Sequence[Scored], *, keep: int, by: str, rng: np.random.Generator, threshold: float | None = None
) -> list[Scored]:
    """The ``keep`` lowest scores of each scenario, ties broken by ``rng``; with the regret as score, Alg. 1 of RMFT.

    Grouped by scenario each group gives at most ``keep``; a wider group gives ``keep`` for each scenario in it. A group
    with fewer plays gives what it has; ``threshold`` is the worst score per round that is kept. Keeping few copies
    luck: see docs/selection.md.
    """
    kept: list[Scored] = []
    for ranked, n_scenarios in _ranked(scored, by, rng):
        best = ranked[: keep * n_scenarios]
        kept += [one for one in best if threshold is None or one.score <= threshold * one.trajectory.scenario.horizon]
    return kept


def pairs(
    scored: Sequence[Scored], *, keep: int, by: str, rng: np.random.Generator, margin: float = 0.0
) -> list[tuple[Scored, Scored]]:
    """Pairs (chosen, rejected): the best of each group with the worst, the second best with the second worst, ...

    At most ``keep`` a scenario.

    No trajectory is in two pairs. Pairs whose scores are equal, or differ by less than ``margin`` times the regret of
    uniform play (on the game of the chosen one), are left out.
    """
    found: list[tuple[Scored, Scored]] = []
    for ranked, n_scenarios in _ranked(scored, by, rng):
        half = min(keep * n_scenarios, len(ranked) // 2)
        for chosen, rejected in zip(ranked[:half], ranked[::-1][:half], strict=True):
            gap = rejected.score - chosen.score
            if gap > 0 and gap >= margin * uniform_regret(chosen.trajectory.oracle):
                found.append((chosen, rejected))
    return found


def _ranked(scored: Sequence[Scored], by: str, rng: np.random.Generator) -> Iterator[tuple[list[Scored], int]]:
    """Each group in order of first appearance, its plays lowest score first; and how many scenarios are in it."""
    groups: dict[str, list[Scored]] = {}
    for play in scored:
        groups.setdefault(GROUP_KEYS[by](play.trajectory), []).append(play)
    for members in groups.values():
        order = np.lexsort((rng.random(len(members)), np.array([play.score for play in members])))
        yield [members[i] for i in order], len({play.trajectory.scenario.id for play in members})
