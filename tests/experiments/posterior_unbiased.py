"""Is the posterior regret unbiased, how much luck does it remove, and how exact is it?

    python tests/experiments/posterior_unbiased.py [--scenarios 10000] [--out docs/results]   # minutes on one core

Every policy plays that many fresh scenarios of the environment's own generator; the posterior regret of each play is
compared with its true pseudo-regret, of which it must be the conditional mean. Writes OUT/posterior_unbiased.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from six_policies import POLICIES, by_arms, play, true_regret

from env_plugins.mab.generator import BanditGenerator
from env_plugins.nsmab.generator import DriftGenerator
from rmft_verl.algo import posterior
from rmft_verl.algo.particles import particle_regret
from rmft_verl.algo.posterior import Prior, posterior_regret

HORIZON, NOISE, RANGE = 20, 0.5, (0.1, 0.9)
LAWS: dict[str, tuple[Prior, dict[str, Any]]] = {
    "Bernoulli, gap 0.1 (mab_tiny)": (Prior("bernoulli", *RANGE, 0.1), {"min_gap": 0.1}),
    "Bernoulli, no gap": (Prior("bernoulli", *RANGE), {"min_gap": 0.0}),
    "Gaussian, sd 0.5, gap 0.1": (Prior("gaussian", *RANGE, 0.1, NOISE), {"min_gap": 0.1, "law": ["gaussian"]}),
}
"""Setting -> the law of its means and rewards, and the generator's options that say the same."""

DRIFT: dict[str, Any] = {"arms": [3], "horizon": [30], "min_gap": 0.2, "contexts": "basic"}
DRIFT_PLAYS, PARTICLES = 500, 3000
AT_ONCE = 5

Arrays = tuple[np.ndarray, np.ndarray]


def posterior_of(
    prior: Prior, actions_N_T: np.ndarray, rewards_N_T: np.ndarray, arms: int, further: float = 0.0
) -> Any:
    cuts = range(AT_ONCE, len(actions_N_T), AT_ONCE)
    chunks = zip(np.split(actions_N_T, cuts), np.split(rewards_N_T, cuts), strict=True)
    return np.concatenate([posterior_regret(prior, *chunk, arms, further) for chunk in chunks])


def both_regrets(prior: Prior, options: dict[str, Any], kind: int, count: int, rng: np.random.Generator) -> Arrays:
    """True and posterior regret of ``count`` plays of fresh scenarios, shape (N,) each."""
    generator = BanditGenerator(horizon=[HORIZON], **options)
    true, expected = [], []
    for arms, means_N_A in by_arms([generator.draw(rng) for _ in range(count)]).items():
        actions_N_T, rewards_N_T = play(np.full(len(means_N_A), kind), means_N_A, HORIZON, rng, prior.noise)
        true.append(true_regret(actions_N_T, means_N_A))
        expected.append(posterior_of(prior, actions_N_T, rewards_N_T, arms))
    return np.concatenate(true), np.concatenate(expected)


def in_errors(true_N: np.ndarray, expected_N: np.ndarray) -> float:
    """The mean difference in units of its standard error."""
    difference_N = expected_N - true_N
    return float(difference_N.mean() / difference_N.std(ddof=1) * len(true_N) ** 0.5)


def compared(label: str, true_N: np.ndarray, expected_N: np.ndarray) -> str:
    """Columns of a table: the means, their paired difference with its standard error, and the standard deviations."""
    difference_N = expected_N - true_N
    error = difference_N.std(ddof=1) / len(true_N) ** 0.5
    return (
        f"| {label} | {true_N.mean():.3f} "
        f"| {difference_N.mean():+.4f} | {error:.4f} | {in_errors(true_N, expected_N):+.1f} "
        f"| {true_N.std():.2f} | {expected_N.std():.2f} | {expected_N.std() / true_N.std():.2f} |"
    )


def unbiased(count: int) -> list[str]:
    lines = [
        "| law | policy | mean true regret | posterior - true | its s.e. | in s.e. | sd true | sd posterior | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    squares = []
    for i, (name, (prior, options)) in enumerate(LAWS.items()):
        for kind, policy in enumerate(POLICIES):
            pair = both_regrets(prior, options, kind, count, np.random.default_rng([i, kind]))
            lines.append(compared(f"{name} | {policy}", *pair))
            squares.append(in_errors(*pair) ** 2)
            print(lines[-1], flush=True)
    count_and_spread = f"{len(squares)} expected, standard deviation {(2 * len(squares)) ** 0.5:.0f}"
    return [*lines, "", f"The squares of the column `in s.e.` add up to {sum(squares):.1f} ({count_and_spread})."]


def numerical_error() -> list[str]:
    """Against twice as many nodes: the largest difference of any score with a continuation of one horizon."""
    lines = ["| law | T | nodes | largest error of 60 scores | ms a score |", "|---|---|---|---|---|"]
    for i, (name, (prior, options)) in enumerate(LAWS.items()):
        for horizon in (8, 20, 50, 200):
            rng = np.random.default_rng([100, i, horizon])
            means_N_A = by_arms([BanditGenerator(arms=[5], **options).draw(rng) for _ in range(60)])[5]
            played = play(np.arange(60) % len(POLICIES), means_N_A, horizon, rng, prior.noise)
            posterior_of(prior, *played, 5, horizon)  # the nodes are computed once
            start = time.process_time()
            scores_N = posterior_of(prior, *played, 5, horizon)
            cost = (time.process_time() - start) / 60 * 1000
            error = np.abs(scores_N - with_twice_the_nodes(prior, played, horizon)).max()
            nodes = posterior._nodes(prior, np.full(5, horizon / 5))
            lines.append(f"| {name} | {horizon} | {nodes} | {error:.0e} | {cost:.1f} |")
            print(lines[-1], flush=True)
    return lines


def with_twice_the_nodes(prior: Prior, played: Arrays, horizon: int) -> Any:
    nodes = posterior._nodes
    posterior._nodes = lambda *arguments: 2 * nodes(*arguments)
    try:
        return posterior_of(prior, *played, 5, horizon)
    finally:
        posterior._nodes = nodes


def drifting() -> list[str]:
    """Particles: the same comparison for means that drift, with what the estimate says of its own error."""
    lines = [
        "| policy | mean true regret | posterior - true | its s.e. | in s.e. | sd true | sd posterior | ratio "
        "| particles' own s.e., median | effective particles: median, least |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    generator, prior = DriftGenerator(**DRIFT), Prior("bernoulli", *RANGE, DRIFT["min_gap"], drifts=True)
    rng = np.random.default_rng(200)
    paths_P_T_A = np.array([generator.draw(rng).game["means"] for _ in range(PARTICLES)])
    for kind, policy in enumerate(POLICIES):
        rng = np.random.default_rng([201, kind])
        means_N_T_A = np.array([generator.draw(rng).game["means"] for _ in range(DRIFT_PLAYS)])
        played = play(np.full(DRIFT_PLAYS, kind), means_N_T_A, means_N_T_A.shape[1], rng)
        estimates = [particle_regret(prior, paths_P_T_A, *pair) for pair in zip(*played, strict=True)]
        expected_N, error_N, effective_N = (np.array(column) for column in zip(*estimates, strict=True))
        row = compared(policy, true_regret(played[0], means_N_T_A), expected_N)
        lines.append(f"{row} {np.median(error_N):.2f} | {np.median(effective_N):.0f}, {effective_N.min():.0f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    text = [
        "# Posterior regret: unbiased, steadier, exact",
        "",
        f"    python tests/experiments/posterior_unbiased.py --scenarios {arguments.scenarios}",
        "",
        "Each policy (tests/experiments/six_policies.py) plays "
        f"{arguments.scenarios} fresh scenarios of `mab`, K in 3 to 5,",
        f"T = {HORIZON}, means within {RANGE[0]} and {RANGE[1]}. Differences are paired by play; sd is over plays.",
        "",
        *unbiased(arguments.scenarios),
        "",
        "## Numerical error",
        "",
        "Against twice the nodes; K = 5, ten plays of each policy, "
        "with a continuation of H = T. Milliseconds are of one",
        "core's own time, five plays at once.",
        "",
        *numerical_error(),
        "",
        "## Particles where means drift",
        "",
        f"`nsmab`, K = 3, T = 30, Bernoulli, all kinds of drift; {DRIFT_PLAYS} plays of each policy, {PARTICLES} paths",
        "shared by all of them. So their error is common to all plays, and the difference holds it too.",
        "",
        *drifting(),
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "posterior_unbiased.md").write_text("\n".join([*text, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
