"""Selects the trajectories to train on: group, rank, keep. All functions are pure; the config only names them."""

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
"""What is compared: trajectories of one scenario (game and words), of one hidden game, or all of them."""


def count(keep: float, rollouts: int) -> int:
    """k: ``keep`` itself if it is 1 or more, else that share of the ``rollouts`` of a scenario, at least one."""
    return int(keep) if keep >= 1 else max(1, round(keep * rollouts))


RULES = ("best", "proportional")
"""Which trajectories of a group are kept: the k of lowest score, or k on average, by chance."""


def select(
    scored: Sequence[Scored],
    *,
    keep: int,
    by: str,
    rng: np.random.Generator,
    threshold: float | None = None,
    rule: str = "best",
) -> list[Scored]:
    """The lowest scores of each group, ties broken by ``rng``; with regret as the score, Algorithm 1 of RMFT.

    A group gives up to ``keep`` trajectories for each scenario in it, or all if it has fewer. ``threshold`` is the
    highest score per round that is kept. Keeping few trajectories imitates luck: see docs/selection.md. The other
    ``rule``, ``proportional``, keeps each by chance (``_accepted``).
    """
    groups = list(_ranked(scored, by, rng))
    spread = _spread([ranked for ranked, _ in groups])
    kept: list[Scored] = []
    for ranked, n_scenarios in groups:
        k = keep * n_scenarios
        found = ranked[:k] if rule == "best" else _accepted(ranked, k, spread, rng)
        kept += [one for one in found if threshold is None or one.score <= threshold * one.trajectory.scenario.horizon]
    return kept


def _accepted(ranked: Sequence[Scored], keep: int, spread: float, rng: np.random.Generator) -> list[Scored]:
    """Each trajectory with probability k/L x (1 + (group's mean - score) / (2 x spread)), within 0 and 1.

    Linear in the score and with one ``spread`` for all groups, this prefers what has low regret *on average*: luck in
    single plays cancels, which it does not where the best are kept. The expected update is that of a policy gradient
    whose advantage is the score below its group's mean, plus imitation of all plays.
    """
    score_N = np.array([one.score for one in ranked])
    better_N = (score_N.mean() - score_N) / (2 * spread) if spread > 0 else np.zeros(len(ranked))
    accepted_N = rng.random(len(ranked)) < min(1.0, keep / len(ranked)) * (1 + better_N)
    return [one for one, accepted in zip(ranked, accepted_N, strict=True) if accepted]


def _spread(groups: Sequence[Sequence[Scored]]) -> float:
    """Standard deviation of the scores around the mean of their group."""
    centred = [np.subtract(scores, np.mean(scores)) for scores in ([one.score for one in group] for group in groups)]
    return float(np.sqrt(np.mean(np.concatenate(centred) ** 2))) if centred else 0.0


def pairs(
    scored: Sequence[Scored], *, keep: int, by: str, rng: np.random.Generator, margin: float = 0.0
) -> list[tuple[Scored, Scored]]:
    """Pairs (chosen, rejected): the best of each group with the worst, the second best with the second worst, ...

    There are at most ``keep`` pairs per scenario, and no trajectory is in two pairs. Pairs whose scores are equal, or
    differ by less than ``margin`` times the regret of uniform play (on the game of the chosen one), are left out.
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
    """For each group, in order of first appearance: its trajectories, lowest score first, and its scenario count."""
    groups: dict[str, list[Scored]] = {}
    for trajectory in scored:
        groups.setdefault(GROUP_KEYS[by](trajectory.trajectory), []).append(trajectory)
    for members in groups.values():
        order = np.lexsort((rng.random(len(members)), np.array([trajectory.score for trajectory in members])))
        yield [members[i] for i in order], len({trajectory.trajectory.scenario.id for trajectory in members})
