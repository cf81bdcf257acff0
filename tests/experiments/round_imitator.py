"""What can selection teach a player that decides anew in every round? An ideal imitator of choices, not of habits.

    python tests/experiments/round_imitator.py [--sizes 64x4x1 256x4x1] [--repeats 8]       # minutes on one core

A base built on ``unannounced`` dialogues sees a summary alone, counts and averages, so that it is a policy over
summaries. Here that policy is a softmax over the arms, linear in what each habit would play there (``features``), and
fitted by maximum likelihood: first to the habits' own plays, then in each iteration to the choices that a rule keeps.
So nothing is lost in training but what few plays leave open. ``habit_population.py`` is the same for a base that keeps
to one habit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from six_policies import by_arms, true_regret

from env_plugins.mab.generator import BanditGenerator
from rmft_verl.algo.posterior import Prior, posterior_regret
from rmft_verl.labs.tiny.habits import ENOUGH, SUMMARY_HABITS
from rmft_verl.labs.tiny.teacher import EXPLORING

GAMES = BanditGenerator(**EXPLORING)
HORIZON = GAMES.horizon[0]
ITERATIONS, PRETRAINING, ALONE = 5, 4_000, 4_000
RULES = ("posterior", "posterior, H = T", "true", "reward", "random")
HABITS = tuple(SUMMARY_HABITS)
RIDGE = 1e-3
"""Weight of the squared coefficients in a fit, per choice: no more than keeps it finite."""

Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Tries and wins of each arm, both (N, A) -> probabilities of the arms, (N, A)."""


def proposals(tries_N_A: np.ndarray, wins_N_A: np.ndarray) -> np.ndarray:
    """Which arm each habit plays after these counts: indicators of shape (N, 3, A), for stick, greedy and commit."""
    average_N_A = wins_N_A / np.maximum(tries_N_A, 1)
    least, most, best = tries_N_A.argmin(axis=1), tries_N_A.argmax(axis=1), average_N_A.argmax(axis=1)
    greedy = np.where(wins_N_A.max(axis=1) > 0, best, least)
    commit = np.where(tries_N_A.min(axis=1) < ENOUGH, least, best)
    return np.stack([most, greedy, commit], axis=1)[..., None] == np.arange(tries_N_A.shape[1])


def features(tries_N_A: np.ndarray, wins_N_A: np.ndarray) -> np.ndarray:
    """Shape (N, A, F): each habit's proposal, times a constant and what the summary says of time, tests and leads."""
    total_N, least_N = tries_N_A.sum(axis=1), tries_N_A.min(axis=1)
    average_N_A = np.sort(wins_N_A / np.maximum(tries_N_A, 1), axis=1)
    spread_N = tries_N_A.max(axis=1) / np.maximum(total_N, 1)
    lead_N = average_N_A[:, -1] - average_N_A[:, -2]
    seen = (np.ones_like(lead_N), np.log1p(total_N), least_N == 0, np.minimum(least_N, ENOUGH), lead_N, spread_N)
    said_N_H_A = proposals(tries_N_A, wins_N_A)
    products = np.stack(seen, axis=1)[:, None, :, None] * said_N_H_A[:, :, None]
    return products.reshape(len(tries_N_A), -1, tries_N_A.shape[1]).transpose(0, 2, 1).astype(float)


def probabilities(weights_F: np.ndarray, features_N_A_F: np.ndarray) -> np.ndarray:
    logits_N_A = features_N_A_F @ weights_F
    exponent_N_A = np.exp(logits_N_A - logits_N_A.max(axis=1, keepdims=True))
    return np.asarray(exponent_N_A / exponent_N_A.sum(axis=1, keepdims=True))


def play(weights_F: np.ndarray, means_N_A: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Arms played and rewards paid, shape (N, T)."""
    return _play(means_N_A, rng, lambda *counts: probabilities(weights_F, features(*counts)))


def habits_play(means_N_A: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One habit a game, drawn by the shares of the pre-training."""
    shares = np.array([SUMMARY_HABITS[name][0] for name in HABITS])
    kind_N = rng.choice(len(HABITS), len(means_N_A), p=shares / shares.sum())

    def policy(tries_N_A: np.ndarray, wins_N_A: np.ndarray) -> np.ndarray:
        n_arms = tries_N_A.shape[1]
        said_N_H_A = np.concatenate([np.full((len(kind_N), 1, n_arms), 1 / n_arms), proposals(tries_N_A, wins_N_A)], 1)
        first = tries_N_A.sum() == 0
        return np.full_like(tries_N_A, 1 / n_arms) if first else said_N_H_A[np.arange(len(kind_N)), kind_N]

    return _play(means_N_A, rng, policy)


def _play(means_N_A: np.ndarray, rng: np.random.Generator, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    tries_N_A, wins_N_A = np.zeros_like(means_N_A), np.zeros_like(means_N_A)
    actions_N_T = np.zeros((len(means_N_A), HORIZON), dtype=int)
    rewards_N_T = np.zeros(actions_N_T.shape)
    rows = np.arange(len(means_N_A))
    for t in range(HORIZON):
        chances_N_A = policy(tries_N_A, wins_N_A)
        arm_N = (chances_N_A.cumsum(axis=1) < rng.random((len(rows), 1))).sum(axis=1).clip(max=means_N_A.shape[1] - 1)
        paid_N = (rng.random(len(rows)) < means_N_A[rows, arm_N]).astype(float)
        actions_N_T[:, t], rewards_N_T[:, t] = arm_N, paid_N
        tries_N_A[rows, arm_N] += 1
        wins_N_A[rows, arm_N] += paid_N
    return actions_N_T, rewards_N_T


def choices(actions_N_T: np.ndarray, rewards_N_T: np.ndarray, n_arms: int) -> tuple[np.ndarray, np.ndarray]:
    """Every choice of the plays: its features (N x T, A, F) and the arm (N x T,)."""
    played_N_T_A = actions_N_T[..., None] == np.arange(n_arms)
    before_N_T_A = np.cumsum(played_N_T_A, axis=1) - played_N_T_A
    paid_N_T_A = played_N_T_A * rewards_N_T[..., None]
    wins_N_T_A = np.cumsum(paid_N_T_A, axis=1) - paid_N_T_A
    seen = before_N_T_A.reshape(-1, n_arms).astype(float), wins_N_T_A.reshape(-1, n_arms)
    return features(*seen), actions_N_T.ravel()


def fit(data: Sequence[tuple[np.ndarray, np.ndarray]], start_F: np.ndarray) -> np.ndarray:
    """Maximum likelihood of the choices, from ``start_F`` on and with a little pull towards it."""
    total = sum(len(arm) for _, arm in data)

    def objective(weights_F: np.ndarray) -> tuple[float, np.ndarray]:
        moved_F = weights_F - start_F
        loss, slope_F = RIDGE * moved_F @ moved_F, 2 * RIDGE * moved_F
        for features_N_A_F, arm_N in data:
            chances_N_A = probabilities(weights_F, features_N_A_F)
            rows = np.arange(len(arm_N))
            loss = loss - np.log(chances_N_A[rows, arm_N]).sum() / total
            error_N_A = chances_N_A - (arm_N[:, None] == np.arange(chances_N_A.shape[1]))
            slope_F = slope_F + np.einsum("na,naf->f", error_N_A, features_N_A_F) / total
        return float(loss), slope_F

    return np.asarray(minimize(objective, start_F, jac=True, method="L-BFGS-B").x)


def games(count: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    return by_arms([GAMES.draw(rng) for _ in range(count)])


def score(
    rule: str, means_N_A: np.ndarray, actions_N_T: np.ndarray, rewards_N_T: np.ndarray, prior: Prior
) -> np.ndarray:
    """Lower is better; shape (N,)."""
    if rule == "true":
        return true_regret(actions_N_T, means_N_A)
    if rule == "reward":
        return -rewards_N_T.sum(axis=1)
    if rule == "random":
        return np.zeros(len(actions_N_T))
    further = HORIZON if rule.endswith("T") else 0
    return np.asarray(posterior_regret(prior, actions_N_T, rewards_N_T, means_N_A.shape[1], further))


def step(weights_F: np.ndarray, rule: str, sizes: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """The policy after one iteration: M games of L plays, the best k of each imitated."""
    scenarios, rollouts, keep = sizes
    data = []
    for n_arms, means_M_A in games(scenarios, rng).items():
        means_N_A = np.repeat(means_M_A, rollouts, axis=0)
        actions_N_T, rewards_N_T = play(weights_F, means_N_A, rng)
        prior = Prior(law="bernoulli", low=GAMES.mean_low, high=GAMES.mean_high, min_gap=GAMES.min_gap)
        score_N = np.round(score(rule, means_N_A, actions_N_T, rewards_N_T, prior), 9)
        order_M_L = np.lexsort((rng.random(len(score_N)), score_N, np.repeat(np.arange(len(means_M_A)), rollouts)))
        kept = order_M_L.reshape(-1, rollouts)[:, :keep].ravel()
        data.append(choices(actions_N_T[kept], rewards_N_T[kept], n_arms))
    return fit(data, weights_F)


def regret(weights_F: np.ndarray) -> float:
    """Normalized regret on ``ALONE`` games, the same for all."""
    rng, lost, uniform = np.random.default_rng(1_000_000), 0.0, 0.0
    for means_N_A in games(ALONE, rng).values():
        lost += true_regret(play(weights_F, means_N_A, rng)[0], means_N_A).sum()
        uniform += HORIZON * (means_N_A.max(axis=1) - means_N_A.mean(axis=1)).sum()
    return float(lost / uniform)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["64x4x1", "256x4x1"], help="scenarios x rollouts x kept")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shown = [
        choices(*habits_play(means_N_A, rng), n_arms=n_arms) for n_arms, means_N_A in games(PRETRAINING, rng).items()
    ]
    base_F = fit(shown, np.zeros(shown[0][0].shape[2]))
    print(f"base: {regret(base_F):.3f}\n")
    print("| rule | scenarios x rollouts, kept | regret, start and iterations | last |\n|---|---|---|---|")
    for sizes in options.sizes:
        parts = [int(part) for part in sizes.split("x")]
        for rule in options.rules:
            print(row(base_F, rule, parts, options.repeats), flush=True)


def row(base_F: np.ndarray, rule: str, sizes: Sequence[int], repeats: int) -> str:
    courses = []
    for repeat in range(repeats):
        rng, weights_F = np.random.default_rng([repeat, *sizes]), base_F
        course = [regret(base_F)]
        for _ in range(ITERATIONS):
            weights_F = step(weights_F, rule, sizes, rng)
            course.append(regret(weights_F))
        courses.append(course)
    told = " ".join(f"{value:.2f}" for value in np.mean(courses, axis=0))
    last = [course[-1] for course in courses]
    return f"| {rule} | {sizes[0]} x {sizes[1]}, {sizes[2]} | {told} | {min(last):.2f} to {max(last):.2f} |"


if __name__ == "__main__":
    main()
