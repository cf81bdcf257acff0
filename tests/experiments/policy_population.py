"""Does selection breed exploration or luck? A population of six policies under an ideal imitator.

    python tests/experiments/policy_population.py [--repeats 4] [--out docs/results]      # minutes on one core

Every iteration, L policies drawn from the population play each of M bandits; the k best-scored plays of each are kept,
and the shares of the policies among the kept are the next population. Writes OUT/policy_population.md.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from six_policies import POLICIES, by_arms, over_rounds, play, true_regret

from env_plugins.mab.generator import BanditGenerator
from env_plugins.nsmab.generator import DriftGenerator
from rmft_verl.algo.particles import particle_regret
from rmft_verl.algo.posterior import Prior, posterior_regret

LAWS: dict[str, BanditGenerator] = {
    "Bernoulli, K 3 to 5": BanditGenerator(min_gap=0.0),
    "Bernoulli, K = 2": BanditGenerator(arms=[2], min_gap=0.0),
    "Bernoulli, K = 10": BanditGenerator(arms=[10], min_gap=0.0),
    "Gaussian, sd 0.5, K 3 to 5": BanditGenerator(law=["gaussian"], min_gap=0.0),
    "drifting Bernoulli, K 2 to 4": DriftGenerator(arms=[2, 3, 4]),
}
FIRST, *OTHERS = LAWS
HORIZONS, KEEPS = (8, 20, 50), (2, 8)
SCORES = {"true": None, "posterior": 0, "posterior, H = T": 1, "posterior, H = 3T": 3}
"""Score -> rounds of the continuation in horizons; None: the true regret."""
FLOOR = ", all arms"
"""Behind a score: plays that leave an arm untried rank behind all that do not."""
SOFT = 0
"""In place of k: no play is left out, and each counts exp(-score / s), s the standard deviation among the L plays."""
PROPORTIONAL = -1
"""In place of k: ``selection.accept=proportional``, in expectation, with one spread for all games of as many arms."""
ITERATIONS, SCENARIOS, ROLLOUTS, REFERENCE = 6, 60, 16, 20_000
AT_ONCE, PARTICLES = 5, 500


@dataclass(frozen=True)
class Setting:
    law: str
    horizon: int
    score: str
    keep: int


def games(setting: Setting, count: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Number of arms -> means of the games that have it, shape (M, A), or (M, T, A) if they drift."""
    generator = dataclasses.replace(LAWS[setting.law], horizon=[setting.horizon])
    return by_arms([generator.draw(rng) for _ in range(count)])


def references(setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """Of each policy alone: mean regret and SuffFailFreq(T/2), shape (6, 2)."""
    half, noise = setting.horizon // 2, noise_of(setting)
    drawn = games(setting, REFERENCE, rng)
    rows = []
    for kind in range(len(POLICIES)):
        regrets, failures = [], []
        for means in drawn.values():
            actions_N_T, _ = play(np.full(len(means), kind), means, setting.horizon, rng, noise)
            best_N_T = over_rounds(means, setting.horizon).argmax(axis=2)
            regrets.append(true_regret(actions_N_T, means))
            failures.append((actions_N_T[:, half:] != best_N_T[:, half:]).all(axis=1))
        rows.append((np.concatenate(regrets).mean(), np.concatenate(failures).mean()))
    return np.array(rows)


def noise_of(setting: Setting) -> float:
    """Standard deviation of a Gaussian reward, 0 for Bernoulli arms."""
    law = LAWS[setting.law]
    return law.noise if law.law == ["gaussian"] else 0.0


def next_shares(shares: np.ndarray, setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """Shares of the policies among the plays that are kept of one iteration, shape (6,)."""
    kept = np.zeros(len(POLICIES))
    for means in games(setting, SCENARIOS, rng).values():
        kind_N = rng.choice(len(POLICIES), len(means) * ROLLOUTS, p=shares)
        means_N = np.repeat(means, ROLLOUTS, axis=0)
        played = play(kind_N, means_N, setting.horizon, rng, noise_of(setting))
        score_M_G = scores(setting, means_N, *played, rng).reshape(-1, ROLLOUTS)
        if setting.score.endswith(FLOOR):
            tried_N_A = (played[0][:, :, None] == np.arange(means_N.shape[-1])).any(axis=1)
            score_M_G += 1e6 * ~tried_N_A.all(axis=1).reshape(-1, ROLLOUTS)
        weight_M_G = weights(score_M_G.round(9), setting.keep, rng)  # equal scores are ties, however they were summed
        kept += np.bincount(kind_N, weight_M_G.ravel(), minlength=len(POLICIES))
    return kept / kept.sum()


def scores(
    setting: Setting, means_N: np.ndarray, actions_N_T: np.ndarray, rewards_N_T: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What the plays are ranked by, shape (N,)."""
    horizons = SCORES[setting.score.removesuffix(FLOOR)]
    if horizons is None:
        return np.asarray(true_regret(actions_N_T, means_N))
    law = dataclasses.replace(LAWS[setting.law], horizon=[setting.horizon])
    scenario = next(one for one in iter(lambda: law.draw(rng), None) if len(one.actions) == means_N.shape[-1])
    prior, further = Prior(**law.prior(scenario)), horizons * setting.horizon
    if isinstance(law, DriftGenerator):  # what a player is told is the same in all of these games: so are the paths
        paths_P_T_A = np.array([law.draw_means(scenario, rng) for _ in range(PARTICLES)])
        plays = zip(actions_N_T, rewards_N_T, strict=True)
        return np.array([particle_regret(prior, paths_P_T_A, *one, further).score for one in plays])
    cuts = range(AT_ONCE, len(actions_N_T), AT_ONCE)
    chunks = zip(np.split(actions_N_T, cuts), np.split(rewards_N_T, cuts), strict=True)
    arms = means_N.shape[-1]
    return np.concatenate([posterior_regret(prior, *chunk, arms, further) for chunk in chunks])


def weights(score_M_G: np.ndarray, keep: int, rng: np.random.Generator) -> np.ndarray:
    """How much each play counts, shape (M, G), each row with the sum 1 (``PROPORTIONAL``: about 1)."""
    if keep == PROPORTIONAL:
        better_M_G = score_M_G.mean(axis=1, keepdims=True) - score_M_G
        spread = max((better_M_G**2).mean() ** 0.5, 1e-9)
        return np.asarray(np.maximum(0.0, 1 + better_M_G / (2 * spread)) / score_M_G.shape[1])
    if keep == SOFT:
        spread_M = np.maximum(score_M_G.std(axis=1, keepdims=True), 1e-9)
        weight_M_G = np.exp((score_M_G.min(axis=1, keepdims=True) - score_M_G) / spread_M)
        return np.asarray(weight_M_G / weight_M_G.sum(axis=1, keepdims=True))
    best_M_k = np.lexsort((rng.random(score_M_G.shape), score_M_G), axis=1)[:, :keep]
    weight_M_G = np.zeros(score_M_G.shape)
    np.put_along_axis(weight_M_G, best_M_k, 1 / keep, axis=1)
    return weight_M_G


@cache
def evolve(setting: Setting, repeat: int) -> np.ndarray:
    """Shares of the policies before the first and after every iteration, shape (7, 6)."""
    keep = 1000 if setting.keep == PROPORTIONAL else setting.keep  # a seed is not negative
    rng = np.random.default_rng([1, list(LAWS).index(setting.law), setting.horizon, keep, repeat])
    shares = [np.full(len(POLICIES), 1 / len(POLICIES))]
    for _ in range(ITERATIONS):
        shares.append(next_shares(shares[-1], setting, rng))
    return np.array(shares)


def row(setting: Setting, shares_R_I_P: np.ndarray, alone_P_2: np.ndarray) -> str:
    regret_R_I, fails_I = shares_R_I_P @ alone_P_2[:, 0], shares_R_I_P.mean(axis=0) @ alone_P_2[:, 1]
    path = " ".join(f"{regret:.2f}" for regret in regret_R_I.mean(axis=0)[1:])
    change_R = regret_R_I[:, -1] / regret_R_I[:, 0] - 1
    error = change_R.std(ddof=1) / len(change_R) ** 0.5 if len(change_R) > 1 else float("nan")
    last = shares_R_I_P[:, -1].mean(axis=0)
    winners = ", ".join(f"{POLICIES[i]} {last[i]:.0%}" for i in np.argsort(-last) if last[i] >= 0.1)
    start = f"{regret_R_I[0, 0]:.2f}"
    where = setting.horizon if setting.law == FIRST else setting.law
    kept = {SOFT: "soft", PROPORTIONAL: "proportional"}.get(setting.keep, f"{ROLLOUTS}, {setting.keep}")
    return (
        f"| {where} | {setting.score} | {kept} | {start} -> {path} "
        f"| {change_R.mean():+.0%} ({error:.0%}) | {fails_I[0]:.2f} -> {fails_I[-1]:.2f} | {winners} |"
    )


HEADER = """# Which policies does selection breed?

    python tests/experiments/policy_population.py --repeats {repeats}

Six policies in equal shares ({policies}; tests/experiments/six_policies.py)
play Bernoulli bandits, K in 3 to 5, means uniform within 0.1 and 0.9.
{scenarios} games an iteration, L = {rollouts} plays each, k kept by the score named; the shares among the kept
are the next population (an ideal imitator). Mean regret is that of the population, from
{reference} plays of each policy alone; averages over {repeats} repetitions, in brackets the standard error of
the change. SuffFailFreq: the best arm is never played in the second half. H: rounds of the continuation.
"""

OTHER_HEADER = f"""
## Other games, T = 20

The drifting games are those of `nsmab_tiny` ({PARTICLES} particles). soft: no play is left out, and each counts
exp(-score / s), s the standard deviation of the scores of the {ROLLOUTS} plays.
"""

FLOOR_HEADER = """
## A floor on coverage, T = 20

The same scores, but plays that leave an arm untried are kept only where too few others are left.
"""

PROPORTIONAL_HEADER = """
## Kept by chance, in proportion to how good they are

`selection.accept=proportional` ([selection.md](../selection.md)). A number is T in the first games, elsewhere T = 20.
"""

ELSEWHERE_HEADER = """
## Trained on games of another length, measured at T = 20

The populations of the first table, bred at T = 8 and T = 50, with the regrets that their policies have at T = 20.
"""

COLUMNS = [
    "| {} | score | L, k | mean regret, start -> iterations 1 to 6 | change | SuffFailFreq | left with 10 % or more |",
    "|---|---|---|---|---|---|---|",
]


def table(repeats: int) -> str:
    counts = {"repeats": repeats, "scenarios": SCENARIOS, "rollouts": ROLLOUTS, "reference": REFERENCE}
    lines = [HEADER.format(policies=", ".join(POLICIES), **counts), COLUMNS[0].format("T"), COLUMNS[1]]
    alone: dict[tuple[str, int], np.ndarray] = {}
    for horizon in HORIZONS:
        lines += rows(FIRST, horizon, KEEPS, repeats, alone)
    lines += [OTHER_HEADER, COLUMNS[0].format("games"), COLUMNS[1]]
    lines += rows(FIRST, 20, (4, SOFT), repeats, alone)
    for law in OTHERS:
        lines += rows(law, 20, (2, 4, 8, SOFT), repeats, alone)
    lines += [FLOOR_HEADER, COLUMNS[0].format("games"), COLUMNS[1]]
    for law in LAWS:
        lines += rows(law, 20, KEEPS, repeats, alone, [score + FLOOR for score in SCORES])
    lines += [PROPORTIONAL_HEADER, COLUMNS[0].format("games"), COLUMNS[1]]
    for horizon in HORIZONS:
        lines += rows(FIRST, horizon, (PROPORTIONAL,), repeats, alone)
    for law in OTHERS:
        lines += rows(law, 20, (PROPORTIONAL,), repeats, alone)
    lines += [ELSEWHERE_HEADER, COLUMNS[0].format("trained at T"), COLUMNS[1]]
    for horizon in (8, 50):
        lines += rows(FIRST, horizon, KEEPS, repeats, alone, measured_at=20)
    lines += ["", "Each policy alone, mean regret (SuffFailFreq):", "", f"| games | {' | '.join(POLICIES)} |"]
    lines += [f"|{'---|' * (len(POLICIES) + 1)}"]
    for (law, horizon), alone_P_2 in alone.items():
        each = " | ".join(f"{regret:.2f} ({fails:.2f})" for regret, fails in alone_P_2)
        lines.append(f"| {law}, T = {horizon} | {each} |")
    return "\n".join([*lines, ""])


def rows(
    law: str,
    horizon: int,
    keeps: Sequence[int],
    repeats: int,
    alone: dict[tuple[str, int], np.ndarray],
    ranked_by: Iterable[str] = SCORES,
    measured_at: int = 0,
) -> list[str]:
    """A line for every score and number kept; ``alone`` gets what each policy does by itself."""
    where = (law, measured_at or horizon)
    if where not in alone:
        rng = np.random.default_rng([0, list(LAWS).index(law), where[1]])
        alone[where] = references(Setting(law, where[1], "true", 8), rng)
    lines = []
    for score in ranked_by:
        for keep in keeps:
            setting = Setting(law, horizon, score, keep)
            lines.append(row(setting, np.stack([evolve(setting, r) for r in range(repeats)]), alone[where]))
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    text = table(arguments.repeats)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "policy_population.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
