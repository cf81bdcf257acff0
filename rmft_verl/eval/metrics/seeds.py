"""Intervals of changes over several training runs, one per seed: both scenarios and seeds are resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rmft_verl.env.regret import uniform_regret
from rmft_verl.eval.metrics.intervals import RESAMPLES, UNKNOWN, Interval, ratio
from rmft_verl.eval.metrics.scale import normalized_of_means, scored
from rmft_verl.types import Trajectory

Plays = Sequence[Sequence[Trajectory]]
"""The trajectories of each seed, all on the same scenarios."""


def two_level(
    sides: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    same_seeds: bool = True,
    same_scenarios: bool = True,
    seed: int = 0,
) -> Interval:
    """The interval of ``two_level_tested``."""
    return two_level_tested(sides, statistic, same_seeds=same_seeds, same_scenarios=same_scenarios, seed=seed)[0]


def two_level_tested(
    sides: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    same_seeds: bool = True,
    same_scenarios: bool = True,
    seed: int = 0,
) -> tuple[Interval, float]:
    """``statistic`` of the means of ``sides``, its 95 % interval over seeds and scenarios, and p of "it is 0".

    Each side has shape (K, S, C): seeds, scenarios (the same for every seed), numbers. ``statistic`` maps the last axis
    of the joined means, (..., sum of C). Seeds (scenarios) that the sides share are resampled together.

    The interval is value ± t x se. One bootstrap resamples seeds, one scenarios, and one both (Owen 2007, The
    pigeonhole bootstrap). Each draws n - 1 of n, which leaves the variance of a mean unbiased (Rao and Wu 1988).
    se^2 = V(seeds) + V(scenarios) - V(both - seeds - scenarios), because the first two both contain the noise of single
    trajectories. t is Student's quantile at Satterthwaite's degrees of freedom: three seeds say little about how
    much seeds differ, and percentiles of three would be too narrow. With one seed the interval covers the scenarios
    only; with one scenario, or a NaN in a resample, it has no bounds and p is NaN. p is two-sided and of the same t: it
    is below 0.05 where the interval does not hold 0.
    """
    from scipy import stats

    rng = np.random.default_rng(seed)
    weights = [(_weights(rng, side.shape[0]), _weights(rng, side.shape[1])) for side in sides]
    pairs = [(weights[0][0] if same_seeds else K, weights[0][1] if same_scenarios else S) for K, S in weights]

    def resampled(over_seeds: bool, over_scenarios: bool) -> np.ndarray:
        """The statistic of each resample minus that of all data, shape (B,)."""
        means = []
        for side, (weights_B_K, weights_B_S) in zip(sides, pairs, strict=True):
            n_seeds, n_scenarios, _ = side.shape
            used_B_K = weights_B_K if over_seeds else np.full((1, n_seeds), 1 / n_seeds)
            used_B_S = weights_B_S if over_scenarios else np.full((1, n_scenarios), 1 / n_scenarios)
            # One seed at a time: all at once would need an array of resamples x scenarios x numbers.
            means.append(np.sum([used_B_K[:, [k]] * (used_B_S @ side[k]) for k in range(n_seeds)], axis=0))
        return statistic(np.concatenate(means, axis=1)) - value

    value = float(statistic(np.concatenate([side.mean(axis=(0, 1)) for side in sides])))
    over_seeds, over_scenarios, over_both = resampled(True, False), resampled(False, True), resampled(True, True)
    n_seeds, n_scenarios = (min(side.shape[axis] for side in sides) for axis in (0, 1))
    if n_scenarios == 1 or not np.isfinite(over_both).all():
        return Interval(value, UNKNOWN, UNKNOWN), UNKNOWN
    from_seeds, from_scenarios = float(over_seeds.var()), float(over_scenarios.var())
    variance = max(from_seeds + from_scenarios - float((over_both - over_seeds - over_scenarios).var()), from_scenarios)
    if variance == 0:
        return Interval(value, value, value), float(value == 0)
    from_seeds = min(from_seeds, variance)  # the parts of a strongly nonlinear statistic may not add up
    squares = from_seeds**2 / max(n_seeds - 1, 1) + (variance - from_seeds) ** 2 / (n_scenarios - 1)
    law, error = stats.t(variance**2 / squares), variance**0.5
    reach = float(law.ppf(0.975)) * error
    return Interval(value, value - reach, value + reach), float(2 * law.sf(abs(value) / error))


def change_tested(
    before: Plays,
    after: Plays,
    *,
    relative: bool = True,
    same_seeds: bool = True,
    same_scenarios: bool = True,
    seed: int = 0,
) -> tuple[Interval, float]:
    """``relative_change`` (else ``absolute_change``) from all before to all after, as ``two_level_tested`` returns it.

    ``same_seeds``: entry k of one side belongs to entry k of the other. ``same_scenarios``: the sides are paired by
    scenario. A scenario that is not scored in every entry (unpaired: every entry of its side) is left out.
    ``ValueError`` if the entries were played on different scenarios, if no scenario is left, if uniform play has no
    regret, or if the regret before a relative change is not above 0.
    """
    if same_scenarios:
        both = _regrets([*before, *after])
        sides = [both[: len(before)], both[len(before) :]]
    else:
        sides = [_regrets(before), _regrets(after)]
    first, last = (normalized_of_means(side.mean(axis=(0, 1))) for side in sides)
    if np.isnan(first) or np.isnan(last):
        raise ValueError("change is undefined: uniform play has no regret in any scenario")
    if relative and first <= 0:
        raise ValueError(f"relative change is undefined: normalized regret before is {first:.3g}, not above 0")

    def change(means: np.ndarray) -> np.ndarray:
        earlier, later = normalized_of_means(means[..., :2]), normalized_of_means(means[..., 2:])
        return np.asarray(ratio(later, earlier) - 1 if relative else later - earlier)

    return two_level_tested(sides, change, same_seeds=same_seeds, same_scenarios=same_scenarios, seed=seed)


def holm(ps: Sequence[float]) -> list[float]:
    """The p of each of several tests, adjusted for looking at all (Holm 1979); those that are NaN stay and count not.

    The chance that any true "it is 0" has an adjusted p below 0.05 is at most 5 %, however the tests depend on each
    other.
    """
    order = [place for place in np.argsort(ps) if not np.isnan(ps[place])]
    adjusted, least = list(ps), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted


def _regrets(trajectories: Plays) -> np.ndarray:
    """Regret and uniform play's regret, averaged over each scenario's trajectories, shape (K, S, 2)."""
    if len({frozenset(trajectory.scenario.id for trajectory in one) for one in trajectories}) > 1:
        raise ValueError("cannot pair: the trajectories are of different scenarios")
    tables: list[dict[str, list[tuple[float, float]]]] = []
    for one in trajectories:
        table: dict[str, list[tuple[float, float]]] = {}
        for trajectory in scored(one):
            assert trajectory.regret is not None
            table.setdefault(trajectory.scenario.id, []).append((trajectory.regret, uniform_regret(trajectory.oracle)))
        tables.append(table)
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    if not shared:
        raise ValueError("cannot pair: no scenario is scored in every seed")
    return np.array([[np.mean(table[key], axis=0) for key in shared] for table in tables])


def _weights(rng: np.random.Generator, n: int) -> np.ndarray:
    """The share of each of ``n`` items in ``RESAMPLES`` resamples of n - 1 (at least 1) draws, shape (B, n)."""
    draws = max(n - 1, 1)
    return rng.multinomial(draws, np.full(n, 1 / n), size=RESAMPLES) / draws
