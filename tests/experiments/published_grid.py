"""EVOLvE's grid of bandits (Nie et al. 2025) with classical players: what of the published figures do they confirm?

    python tests/experiments/published_grid.py [--games 100] [--ratings FILE] [--seed 0] [--out docs/results]

Plays the eight numeric settings of their bandits (two sets of names tell each in words) and the two sizes of their
contextual task, through the one ``play`` loop. Their rules have the constants of their released code. The contextual
games come from a synthetic table, unless ``--ratings`` names a file of MovieLens. Writes OUT/published_grid.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from env_plugins.cb import ContextualBanditEnv, ratings
from env_plugins.mab import BanditEnv
from rmft_verl.env.play import Player, play_now
from rmft_verl.env.regret import regret_curve
from rmft_verl.env.ridge import RidgeArms
from rmft_verl.env.seeds import episode_seeds
from rmft_verl.eval.metrics.comparison import compare, cumulative_reward
from rmft_verl.eval.metrics.intervals import bootstrap
from rmft_verl.players import make_player
from rmft_verl.players.arms import Arms, argmax
from rmft_verl.types import Observation, Reply, Trajectory

MAB = tuple(
    f"evolve_{law}_{level}_k{arms}"
    for law in ("bernoulli", "gaussian")
    for arms in (5, 20)
    for level in ("easy", "hard")
)
CB = ("evolve_size_k10", "evolve_size_k30")
STEPS = (100, 250, 500, 750, 1000)
PUBLISHED = {"K x MinFrac": (0.823, 0.486, 0.278, 0.196, 0.153), "OptFrac": (0.327, 0.494, 0.587, 0.626, 0.650)}
"""UCB's row at ``STEPS``, as a summary of the paper prints it, which names no setting."""
LEGEND = (
    "their_ucb and their_linucb have the constants of EVOLvE's released code (alpha = 0.5), and their_linucb its "
    "columns of length 1; the others are our players (rmft_verl/players)."
)
ALPHAS = np.linspace(0, 3, 16)
RESAMPLES = 200


class TheirUCB:
    """mean_a + sqrt(0.5 log t / n_a), untried arms first: UCB with their constant, the same for every reward law."""

    name = "their_ucb"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._arms = rng, Arms()

    async def act(self, observation: Observation) -> Reply:
        self._arms.see(observation)
        bounds_A = self._arms.upper_bounds_A(1.0, 0.5 * math.log(max(observation.turn, 1)))
        return Reply(action=argmax(bounds_A, self._rng))


class TheirLinUCB:
    """LinUCB, alpha = 0.5, on columns of length 1 as their code has them: ours divided by the root of the users."""

    name = "their_linucb"

    def __init__(self, rng: np.random.Generator, users: int) -> None:
        self._rng, self._shrink = rng, 1 / math.sqrt(users)
        self._arms, self._before_F = RidgeArms(0, 0), np.zeros(0)

    async def act(self, observation: Observation) -> Reply:
        assert observation.context_F is not None
        arm, context_F = observation.last_action, observation.context_F * self._shrink
        if observation.feedback_A is None or not isinstance(arm, int):
            self._arms = RidgeArms(observation.spec.n_actions, observation.spec.n_features)
        else:
            self._arms.add(arm, self._before_F, observation.feedback_A.item(arm))
        self._before_F = context_F
        bounds_A = self._arms.means_A(context_F) + 0.5 * self._arms.widths_A(context_F)
        return Reply(action=argmax(bounds_A.tolist(), self._rng))


class Played(NamedTuple):
    """What one player did in the games of one setting."""

    curves_N_T: np.ndarray
    """Cumulative regret."""
    rewards_N: np.ndarray
    arms_N_T: np.ndarray
    best_N_T: np.ndarray
    """The best arm of each round."""


Maker = Callable[[np.random.Generator], Player]


def lineup(contextual: bool, file: str) -> dict[str, Maker]:
    """The players of a setting."""
    names = ["uniform", "greedy", "ucb1", "thompson"] + (["linucb", "linear_thompson"] if contextual else ["ucb1_auer"])
    makers: dict[str, Maker] = {name: lambda rng, name=name: make_player(name, rng) for name in names}  # type: ignore[misc]
    users = len(ratings.table(file))
    return makers | ({"their_linucb": lambda rng: TheirLinUCB(rng, users)} if contextual else {"their_ucb": TheirUCB})


def games(
    suite: str, makers: Mapping[str, Maker], count: int, seed: int, options: Mapping[str, object]
) -> dict[str, Played]:
    """``count`` games of a suite, each with its own means and draws, which all players meet."""
    env_class = BanditEnv if suite in MAB else ContextualBanditEnv
    generator = env_class.Generator(**(env_class.SUITES[suite] | dict(options)))
    scenarios = [generator.draw(np.random.default_rng([seed, i])) for i in range(count)]
    found = {}
    for name, make in makers.items():
        rows = []
        for i, scenario in enumerate(scenarios):
            reward_seed, policy_seed = episode_seeds(seed, i, 0)
            player = make(np.random.default_rng(policy_seed))
            rows.append(row(play_now(env_class, player, scenario, reward_seed=reward_seed, policy_seed=policy_seed)))
        found[name] = Played(*(np.array(column) for column in zip(*rows, strict=True)))
    return found


def row(played: Trajectory) -> tuple[np.ndarray, float, tuple[object, ...], np.ndarray]:
    """One game's part of each field of ``Played``; ``RuntimeError`` if it failed."""
    if played.error:
        raise RuntimeError(played.error)
    curve_T = regret_curve(played.oracle, played.actions_T)
    return curve_T, cumulative_reward(played), played.actions_T, played.oracle.expected_T_A.argmax(axis=1)


def normalized(played: Played, uniform: Played) -> tuple[float, float, float]:
    """Regret over that of uniform play in the same games, and its 95 % interval over games."""
    values_N = np.stack([played.curves_N_T[:, -1], uniform.curves_N_T[:, -1]], axis=1)
    low, high = bootstrap(values_N, lambda means: means[..., 0] / means[..., 1], 0)
    return float(values_N[:, 0].mean() / values_N[:, 1].mean()), float(low), float(high)


def linear_share(played: Played, uniform: Played, seed: int) -> tuple[float, float, float]:
    """beta of their f(T) = lambda log(T)^alpha / gap + beta T + lambda_2, over uniform play's regret per round.

    Fitted to the mean curve by least squares, lambda and beta at least 0; with its 95 % interval over games.
    """
    horizon = played.curves_N_T.shape[1]
    t = np.unique(np.geomspace(2, horizon, 60).astype(int))
    designs = [np.stack([np.log(t) ** alpha, t, np.ones(len(t)), -np.ones(len(t))], axis=1) for alpha in ALPHAS]

    def beta(curve_T: np.ndarray, idle: float) -> float:
        fits = [nnls(design, curve_T[t - 1]) for design in designs]
        return float(min(fits, key=lambda fit: fit[1])[0][1] * horizon / idle)

    rng, count = np.random.default_rng(seed), len(played.curves_N_T)
    samples = [np.arange(count)] + [rng.integers(count, size=count) for _ in range(RESAMPLES)]
    found = [beta(played.curves_N_T[s].mean(axis=0), uniform.curves_N_T[s, -1].mean()) for s in samples]
    return found[0], *map(float, np.quantile(found[1:], (0.025, 0.975)))


def fractions(played: Played, n_arms: int, step: int) -> tuple[float, float]:
    """K x MinFrac and OptFrac after ``step`` rounds."""
    arms_N_t = played.arms_N_T[:, :step]
    least = min_counts(arms_N_t, n_arms).mean() / step * n_arms
    return float(least), float((arms_N_t == played.best_N_T[:, :step]).mean())


def min_counts(arms_N_T: np.ndarray, n_arms: int) -> np.ndarray:
    """How often the least played arm of each game was played, shape (N,)."""
    return np.asarray((arms_N_T[..., None] == np.arange(n_arms)).sum(axis=1).min(axis=1))


def wins(settings: Mapping[str, Mapping[str, Played]]) -> dict[str, float]:
    """Each player's win rate over all pairs in all settings, by their rule (``eval.metrics.win_rates``)."""
    outcomes: dict[str, list[int]] = {}
    for players in settings.values():
        for a, b in combinations(players, 2):
            outcome = compare(players[a].rewards_N, players[b].rewards_N)
            outcomes.setdefault(a, []).append(outcome)
            outcomes.setdefault(b, []).append(-outcome)
    return {name: float(np.mean(np.array(found) == 1)) for name, found in outcomes.items()}


def cells(settings: Mapping[str, Mapping[str, Played]], value: Callable[..., tuple[float, float, float]]) -> list[str]:
    """A table: a line for each setting, a column for each player."""
    names = list(next(iter(settings.values())))
    lines = [f"| setting | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for suite, players in settings.items():
        found = [value(players[name], players["uniform"]) for name in names]
        lines.append(f"| {suite} | " + " | ".join(f"{v:.2f} [{low:.2f}, {high:.2f}]" for v, low, high in found) + " |")
    return lines


def fraction_table(settings: Mapping[str, Mapping[str, Played]]) -> list[str]:
    """K x MinFrac / OptFrac of their UCB at each step, below the published row."""
    published = [f"{a:.3f} / {b:.3f}" for a, b in zip(*PUBLISHED.values(), strict=True)]
    lines = [f"| setting | {' | '.join(map(str, STEPS))} |", "|---" * (len(STEPS) + 1) + "|"]
    lines.append(f"| as published | {' | '.join(published)} |")
    for suite, players in settings.items():
        played, n_arms = players[TheirUCB.name], int(suite.rpartition("k")[2])
        steps = [step for step in STEPS if step <= played.arms_N_T.shape[1]]
        found = ["{:.3f} / {:.3f}".format(*fractions(played, n_arms, step)) for step in steps]
        lines.append(f"| {suite} | {' | '.join(found + [''] * (len(STEPS) - len(found)))} |")
    return lines


def page(mab: Mapping[str, Mapping[str, Played]], cb: Mapping[str, Mapping[str, Played]], head: str, seed: int) -> str:
    """The page."""
    share = lambda played, uniform: linear_share(played, uniform, seed)  # noqa: E731
    blocks: list[str] = [head]
    for title, settings in (("Bandits", mab), ("Contextual bandits", cb)):
        rates = sorted(wins(settings).items(), key=lambda item: -item[1])
        blocks += [f"## {title}", "Normalized regret.", "\n".join(cells(settings, normalized))]
        blocks += ["beta of their f(T), over uniform play's regret per round.", "\n".join(cells(settings, share))]
        blocks.append("Win rate: " + ", ".join(f"{name} {rate:.0%}" for name, rate in rates) + ".")
    blocks += ["## K x MinFrac / OptFrac of their UCB", "\n".join(fraction_table(mab))]
    return "\n\n".join(blocks) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=100, help="games of a setting; they played 30")
    parser.add_argument("--ratings", default="", help="a file of MovieLens for the contextual games")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args(argv)
    found: dict[str, dict[str, Played]] = {}
    for suite in (*MAB, *CB):
        table = {"ratings": options.ratings} if suite in CB else {}
        found[suite] = games(suite, lineup(suite in CB, options.ratings), options.games, options.seed, table)
        print(
            suite,
            {name: round(normalized(played, found[suite]["uniform"])[0], 3) for name, played in found[suite].items()},
            flush=True,
        )
    head = (
        f"{options.games} games of each setting, seed {options.seed}; 95 % intervals over games. Ratings of the "
        f"contextual games: {Path(options.ratings).name if options.ratings else 'a synthetic table'}. {LEGEND}"
    )
    text = page({s: found[s] for s in MAB}, {s: found[s] for s in CB}, head, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "published_grid.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
