"""Outcomes -> one table per environment: regret, its change with intervals, behavior, budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmft_verl.eval import metrics
from rmft_verl.eval.compare.arms import BASE
from rmft_verl.eval.compare.references import play_references
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.metrics import UNKNOWN, Interval, value_or
from rmft_verl.eval.table import EvalRow, interval_sizes, summarize
from rmft_verl.types import RunError, Trajectory

MOST_UNEQUAL = 0.1
"""Largest share by which the sampled tokens of arms may differ in a fair comparison."""


@dataclass(frozen=True)
class Change:
    """Change of normalized regret: relative, or the plain difference if the regret before is not above 0."""

    relative: bool
    interval: Interval
    """Interval over scenarios and seeds (``metrics.two_level``)."""
    over_scenarios: Interval | None
    """Interval over scenarios alone; None if the two sides were played on different ones."""
    by_seed: tuple[float, ...]
    """Change of each seed; empty if the sides are not paired by seed and scenario."""
    p: float = UNKNOWN
    """Two-sided p of "no change", of the same test as the interval."""
    p_holm: float = UNKNOWN
    """``p`` adjusted for the number of arms that the table compares with the same row (``metrics.holm``)."""

    @property
    def spread(self) -> float:
        return spread(self.by_seed)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table. NaN where a number does not exist, None where a change does not."""

    kind: str
    """``base``, ``arm`` or ``reference``."""
    row: EvalRow
    """Summary of its held-out trajectories of all seeds; the regret's interval is over scenarios."""
    seeds: tuple[int, ...] = ()
    by_seed: tuple[float, ...] = ()
    """Normalized regret of each seed."""
    against_base: Change | None = None
    against_first: Change | None = None
    optimism_gap: float = UNKNOWN
    """Held-out regret minus that of the last iteration's kept trajectories, mean over seeds."""
    tokens_sampled: float = UNKNOWN
    tokens_trained: float = UNKNOWN
    seconds: float = UNKNOWN

    @property
    def name(self) -> str:
        return self.row.player


@dataclass(frozen=True)
class Comparison:
    """The lines of one environment, or of a target that no arm was trained on."""

    environment: str
    first: str
    """Label of the arm that ``against_first`` compares with."""
    paired: bool
    """Whether all arms were measured on the same scenarios."""
    lines: tuple[Line, ...]


Arms = Mapping[str, Sequence[Outcome]]
"""Label -> its runs, one per seed. For ``compare`` runs of one untrained player share a base (``bases.with_bases``)."""

Players = Mapping[str, Mapping[str, Sequence[Trajectory]]]
"""Environment -> reference player -> its trajectories."""


def compare(arms: Arms) -> list[Comparison]:
    """One comparison for each environment that the arms were measured in.

    Raises ``RunError`` if an environment cannot be loaded or the runs of one arm were measured on
    different scenarios or by different sources of the environment.
    """
    for label, runs in arms.items():
        if len({run.measured_on for run in runs}) > 1:
            raise RunError(
                f"arm {label}: its runs were measured on different scenarios or versions of the environment: make each "
                "an arm of its own"
            )
    references: dict[frozenset[str], Players] = {}
    for runs in arms.values():
        if runs[0].measured_on not in references:
            references[runs[0].measured_on] = play_references(runs[0])
    comparisons = []
    for environment in dict.fromkeys(name for runs in arms.values() for name in runs[0].environments):
        here = {label: runs for label, runs in arms.items() if environment in runs[0].environments}
        parts = {label: [run.within(environment) for run in runs] for label, runs in here.items()}
        players = {label: references[runs[0].measured_on].get(environment, {}) for label, runs in here.items()}
        comparisons.append(compare_on(environment, parts, players))
    return comparisons


def compare_on(environment: str, arms: Arms, players: Mapping[str, Mapping[str, Sequence[Trajectory]]]) -> Comparison:
    """``arms`` and their ``players`` (label -> reference player -> its trajectories) where all of them played."""
    first = next(iter(arms))
    lines = base_lines(arms)
    for label, runs in arms.items():
        lines.append(_arm_line(runs, arms[first] if label != first else None))
    lines = _adjusted(_adjusted(lines, "against_base"), "against_first")
    sets: dict[frozenset[str], str] = {}
    for label, runs in arms.items():
        sets.setdefault(runs[0].measured_on, label)
    for label in sets.values():
        for name, played in players[label].items():
            (row,) = summarize({name if len(sets) == 1 else f"{name} ({label})": played}).rows
            lines.append(Line(kind="reference", row=row))
    return Comparison(environment, first, len(sets) == 1, tuple(lines))


def _adjusted(lines: Sequence[Line], which: str) -> list[Line]:
    """The lines with ``p_holm`` over the arms that have the change ``which``."""
    found: list[Any] = [vars(line)[which] for line in lines]
    ps = metrics.holm([UNKNOWN if change is None else change.p for change in found])
    changes = [change and dataclasses.replace(change, p_holm=p) for change, p in zip(found, ps, strict=True)]
    return [dataclasses.replace(line, **{which: change}) for line, change in zip(lines, changes, strict=True)]


def base_lines(arms: Arms) -> list[Line]:
    """One line per set of untrained players and of scenarios: a single line if the arms share both.

    The runs of an arm may each have a base of their own; the line then pools them.
    """
    groups: dict[tuple[frozenset[str], frozenset[str]], dict[str, Outcome]] = {}
    for runs in arms.values():
        group = groups.setdefault((frozenset(run.start for run in runs), runs[0].measured_on), {})
        for run in runs:
            group.setdefault(run.start, run)
    lines = []
    for group in groups.values():
        first, *_ = started = list(group.values())
        played = [trajectory for run in started for trajectory in run.base]
        (row,) = summarize({base_of(first.label, len(groups)): played}).rows
        several = len(started) > 1
        lines.append(
            Line(
                kind=BASE,
                row=row,
                seeds=tuple(run.seed for run in started) if several else (),
                by_seed=tuple(metrics.normalized_regret(run.base) for run in started) if several else (),
            )
        )
    return lines


def base_of(label: str, groups: int = 2) -> str:
    """Name of the untrained players of an arm, if there are several groups of them."""
    return BASE if groups == 1 else f"{BASE} ({label})"


def _arm_line(runs: Sequence[Outcome], first: Sequence[Outcome] | None) -> Line:
    trained = [run.trained for run in runs]
    (row,) = summarize({runs[0].label: [trajectory for played in trained for trajectory in played]}).rows
    regrets = [value_or(UNKNOWN, metrics.normalized_regret, played) for played in trained]
    kept = [value_or(UNKNOWN, metrics.normalized_regret, run.kept) for run in runs]
    gaps = [one - other for one, other in zip(regrets, kept, strict=True)]
    against_first = None
    if first is not None:
        one, other, same_seeds = _by_seed(first, runs)
        against_first = change(
            [run.trained for run in one],
            [run.trained for run in other],
            same_seeds=same_seeds,
            same_scenarios=first[0].measured_on == runs[0].measured_on,
        )
    return Line(
        kind="arm",
        row=row,
        seeds=tuple(run.seed for run in runs),
        by_seed=tuple(regrets),
        against_base=change([run.base for run in runs], trained),
        against_first=against_first,
        optimism_gap=mean([gap for gap in gaps if not np.isnan(gap)]),
        tokens_sampled=mean([run.tokens_sampled for run in runs]),
        tokens_trained=mean([run.tokens_trained for run in runs]),
        seconds=mean([run.seconds for run in runs]),
    )


def _by_seed(first: Sequence[Outcome], runs: Sequence[Outcome]) -> tuple[Sequence[Outcome], Sequence[Outcome], bool]:
    """The runs of two arms to compare, and whether they are paired by seed.

    Runs of common seeds are paired if there are at least two such seeds, or one if an arm has a single run. Otherwise
    all runs are compared unpaired: one pair says nothing about how much seeds differ.
    """
    common = {run.seed for run in first} & {run.seed for run in runs}
    if len(common) < min(2, len(first), len(runs)):
        return first, runs, False
    one, other = ([run for run in side if run.seed in common] for side in (first, runs))
    return one, other, True


def change(
    before: Sequence[Sequence[Trajectory]],
    after: Sequence[Sequence[Trajectory]],
    *,
    same_seeds: bool = True,
    same_scenarios: bool = True,
) -> Change | None:
    """Change from the trajectories of all seeds before to those after; None if no change is defined."""
    earlier, later = ([trajectory for played in side for trajectory in played] for side in (before, after))
    relative = value_or(UNKNOWN, metrics.normalized_regret, earlier) > 0
    plain = metrics.relative_change if relative else metrics.absolute_change
    try:
        interval, p = metrics.change_tested(
            before, after, relative=relative, same_seeds=same_seeds, same_scenarios=same_scenarios
        )
        over_scenarios = plain(earlier, later) if same_scenarios else None
    except ValueError:
        return None
    by_seed: list[float] = []
    for one, other in zip(before, after, strict=True) if same_seeds and same_scenarios else ():
        try:
            by_seed.append(plain(one, other).value)
        except ValueError:
            by_seed.append(UNKNOWN)
    return Change(relative, interval, over_scenarios, tuple(by_seed), p)


def notes(arms: Arms, comparisons: Sequence[Comparison]) -> list[str]:
    """Caveats that a reader must know, one line each."""
    found = [
        f"{one.environment}: the arms were measured on different scenarios or versions of the environment, so their "
        "differences are not paired"
        for one in comparisons
        if not one.paired
    ]
    sizes = interval_sizes([line.row for one in comparisons for line in one.lines])
    if few := metrics.few_scenarios(sizes):
        found.append(few)
    first, *others = arms
    for label in others:
        _, other, paired = _by_seed(arms[first], arms[label])
        if not paired:
            found.append(f"{label} and {first} have no two seeds in common, so their difference is not paired by seed")
        elif len(other) < max(len(arms[first]), len(arms[label])):
            seeds = ", ".join(str(run.seed) for run in other)
            found.append(f"{label} is held against {first} on the seeds that both have: {seeds}")
    single = [label for label, runs in arms.items() if len(runs) == 1]
    if single:
        found.append(f"one seed only: the intervals of {', '.join(single)} know nothing of how much seeds differ")
    sampled = {label: mean([run.tokens_sampled for run in runs]) for label, runs in arms.items()}
    least, most = min(sampled, key=lambda label: sampled[label]), max(sampled, key=lambda label: sampled[label])
    if sampled[most] > (1 + MOST_UNEQUAL) * sampled[least]:
        found.append(
            f"unequal budgets: {most} sampled {sampled[most]:,.0f} tokens a run and {least} {sampled[least]:,.0f}, "
            f"more than {MOST_UNEQUAL:.0%} apart"
        )
    return found


def mean(values: Sequence[float]) -> float:
    """Mean of the values; NaN for none."""
    return float(np.mean(values)) if values else UNKNOWN


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds (n - 1); NaN for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else UNKNOWN
