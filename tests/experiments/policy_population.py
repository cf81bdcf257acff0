"""Does selection breed exploration or luck? A population of six policies under an ideal imitator.

    python tests/experiments/policy_population.py [--repeats 4] [--out docs/results]      # a minute or two on one core

Every iteration, L policies drawn from the population play each of M Bernoulli bandits; the k best-scored plays of each
are kept, and the shares of the policies among the kept are the next population. Writes OUT/policy_population.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from six_policies import POLICIES, play, true_regret

from rmft_verl.posterior import Prior, posterior_regret

PRIOR = Prior("bernoulli", 0.1, 0.9)
ARMS = (3, 4, 5)
HORIZONS, KEEPS = (8, 20, 50), (2, 8)
SCORES = {"true": None, "posterior": 0, "posterior, H = T": 1, "posterior, H = 3T": 3}
"""Score -> rounds of the continuation in horizons; None: the true regret."""
ITERATIONS, SCENARIOS, ROLLOUTS, REFERENCE = 6, 60, 16, 20_000
AT_ONCE = 5


@dataclass(frozen=True)
class Setting:
    horizon: int
    score: str
    keep: int


def games(count: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Number of arms, drawn uniformly -> means of the games that have it, shape (M, A)."""
    arms_M = rng.choice(ARMS, count)
    return {n: rng.uniform(PRIOR.low, PRIOR.high, (int((arms_M == n).sum()), n)) for n in ARMS if n in arms_M}


def references(horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Of each policy alone: mean regret and SuffFailFreq(T/2), shape (6, 2)."""
    rows = []
    for kind in range(len(POLICIES)):
        regrets, failures = [], []
        for means_N_A in games(REFERENCE, rng).values():
            actions_N_T, _ = play(np.full(len(means_N_A), kind), means_N_A, horizon, rng)
            regrets += [true_regret(actions_N_T, means_N_A)]
            failures += [(actions_N_T[:, horizon // 2 :] != means_N_A.argmax(axis=1)[:, None]).all(axis=1)]
        rows.append((np.concatenate(regrets).mean(), np.concatenate(failures).mean()))
    return np.array(rows)


def next_shares(shares: np.ndarray, setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """Shares of the policies among the plays that are kept of one iteration, shape (6,)."""
    kept = np.zeros(len(POLICIES))
    for arms, means_M_A in games(SCENARIOS, rng).items():
        kind_N = rng.choice(len(POLICIES), len(means_M_A) * ROLLOUTS, p=shares)
        means_N_A = np.repeat(means_M_A, ROLLOUTS, axis=0)
        actions_N_T, rewards_N_T = play(kind_N, means_N_A, setting.horizon, rng)
        horizons = SCORES[setting.score]
        if horizons is None:
            score_N = true_regret(actions_N_T, means_N_A)
        else:
            further, cuts = horizons * setting.horizon, range(AT_ONCE, len(kind_N), AT_ONCE)
            chunks = zip(np.split(actions_N_T, cuts), np.split(rewards_N_T, cuts), strict=True)
            score_N = np.concatenate([posterior_regret(PRIOR, *chunk, arms, further) for chunk in chunks])
        score_M_G = score_N.reshape(-1, ROLLOUTS).round(9)  # equal scores are ties, whatever the rounding of their sums
        best_M_G = np.lexsort((rng.random(score_M_G.shape), score_M_G), axis=1)[:, : setting.keep]
        chosen = np.take_along_axis(kind_N.reshape(-1, ROLLOUTS), best_M_G, axis=1)
        kept += np.bincount(chosen.ravel(), minlength=len(POLICIES))
    return kept / kept.sum()


def evolve(setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """Shares of the policies before the first and after every iteration, shape (7, 6)."""
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
    return (
        f"| {setting.horizon} | {setting.score} | {ROLLOUTS}, {setting.keep} | {start} -> {path} "
        f"| {change_R.mean():+.0%} ({error:.0%}) | {fails_I[0]:.2f} -> {fails_I[-1]:.2f} | {winners} |"
    )


def table(repeats: int) -> str:
    lines = [
        "# Which policies does selection breed?",
        "",
        f"    python tests/experiments/policy_population.py --repeats {repeats}",
        "",
        f"Six policies in equal shares ({', '.join(POLICIES)}; tests/experiments/six_policies.py)",
        "play Bernoulli bandits, K in 3 to 5, means uniform within 0.1 and 0.9.",
        f"{SCENARIOS} games an iteration, L = {ROLLOUTS} plays each, k kept by the score named; "
        "the shares among the kept",
        "are the next population (an ideal imitator). Mean regret is that of the population, from",
        f"{REFERENCE} plays of each policy alone; averages over {repeats} repetitions, "
        "in brackets the standard error of",
        "the change. SuffFailFreq: the best arm is never played in the second half. H: rounds of the continuation.",
        "",
        "| T | score | L, k | mean regret, start -> iterations 1 to 6 "
        "| change | SuffFailFreq | left with 10 % or more |",
        "|---|---|---|---|---|---|---|",
    ]
    alone = {horizon: references(horizon, np.random.default_rng([0, horizon])) for horizon in HORIZONS}
    for horizon in HORIZONS:
        for score in SCORES:
            for keep in KEEPS:
                setting = Setting(horizon, score, keep)
                seeds = [np.random.default_rng([1, horizon, keep, r]) for r in range(repeats)]
                lines.append(row(setting, np.stack([evolve(setting, rng) for rng in seeds]), alone[horizon]))
                print(lines[-1], flush=True)
    lines += ["", "Each policy alone, mean regret (SuffFailFreq):", "", f"| T | {' | '.join(POLICIES)} |"]
    lines += [f"|{'---|' * (len(POLICIES) + 1)}"]
    for horizon, alone_P_2 in alone.items():
        lines.append(f"| {horizon} | {' | '.join(f'{regret:.2f} ({fails:.2f})' for regret, fails in alone_P_2)} |")
    return "\n".join([*lines, ""])


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
