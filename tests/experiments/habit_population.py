"""What would selection make of a base, if every update reached the kept plays exactly? The habits as a population.

    python tests/experiments/habit_population.py [RECIPE] [key=value ...] [--kept 16x16x4 64x4x1] [--repeats 4]

RECIPE (mab_explore) names the game and, by ``model.path``, the habits that its base was built of. In each iteration
habits drawn by their shares play whole games, M scenarios of L plays each; the shares among the k kept are the next
ones. Regret is the habits' own, each alone on 300 scenarios that are nobody's held-out ones, weighted by the shares.
This is the ideal reweighting beside which a trained model stands: one that does worse has not learned what was
selected, one that does better has found something.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rmft_verl.algo.scores import Scorer
from rmft_verl.algo.selection import select
from rmft_verl.config import Config
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.play import run_now
from rmft_verl.eval import metrics
from rmft_verl.eval.algorithms import play_request
from rmft_verl.labs.tiny.players import habit_players
from rmft_verl.labs.tiny.teacher import habits
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import RolloutRequest, Trajectory

RULES = {"posterior": ("posterior", 0.0, "best"), "posterior, H = T": ("posterior", 1.0, "best")}
RULES |= {
    name: (score, 0.0, "best") for name, score in (("true", "regret"), ("reward", "reward"), ("random", "random"))
}
RULES |= {f"{name}, proportional": (RULES[name][0], 0.0, "proportional") for name in ("posterior", "true", "reward")}
"""Name -> score, further horizons and ``selection.accept``."""
ALONE, SEED = 300, 1_000_000


def play(config: Config, named: Sequence[str], requests: Sequence[RolloutRequest]) -> list[Trajectory]:
    env_class = load_env(config.env.name, config.env_dirs)
    known = habit_players(config.model.path, config.env.name)

    async def everyone() -> list[Trajectory]:
        games = (
            play_request(env_class, known[name](one.policy_seed), one)
            for name, one in zip(named, requests, strict=True)
        )
        return list(await asyncio.gather(*games))

    return run_now(everyone())


def alone(config: Config, names: Sequence[str]) -> dict[str, float]:
    """Normalized regret of each habit."""
    generator = make_generator(load_env(config.env.name, config.env_dirs), config.env.options)
    rng = np.random.default_rng(SEED)
    requests = [RolloutRequest(generator.draw(rng), n, n) for n in range(ALONE)]
    return {name: metrics.normalized_regret(play(config, [name] * ALONE, requests)) for name in names}


def next_shares(
    config: Config, shares: Mapping[str, float], rule: str, sizes: Sequence[int], seed: int
) -> dict[str, float]:
    n_scenarios, rollouts, keep = sizes
    rng = np.random.default_rng(seed)
    generator = make_generator(load_env(config.env.name, config.env_dirs), config.env.options)
    scenarios = [generator.draw(rng) for _ in range(n_scenarios)]
    requests = [
        RolloutRequest(one, *map(int, rng.integers(2**31, size=2))) for one in scenarios for _ in range(rollouts)
    ]
    named = rng.choice(list(shares), len(requests), p=list(shares.values())).tolist()
    score, further, how = RULES[rule]
    scored = Scorer(score, generator, further)(play(config, named, requests), rng)
    kept = [named[one.place] for one in select(scored, keep=keep, by="scenario", rng=rng, rule=how)]
    return {name: kept.count(name) / len(kept) for name in shares}


def row(
    config: Config,
    first: Mapping[str, float],
    regrets: Mapping[str, float],
    rule: str,
    sizes: Sequence[int],
    repeats: int,
) -> str:
    courses, last = [], []
    for repeat in range(repeats):
        shares, course = dict(first), []
        for n in range(config.iterations):
            course.append(sum(shares[name] * regrets[name] for name in shares))
            shares = next_shares(config, shares, rule, sizes, 1000 * repeat + n)
        courses.append([*course, sum(shares[name] * regrets[name] for name in shares)])
        last.append(list(shares.values()))
    ended = [course[-1] for course in courses]
    left = ", ".join(f"{name} {share:.0%}" for name, share in zip(first, np.mean(last, 0), strict=True) if share >= 0.1)
    told = " ".join(f"{value:.2f}" for value in np.mean(courses, 0))
    return f"| {rule} | {sizes[0]} x {sizes[1]}, {sizes[2]} | {told} | {min(ended):.2f} to {max(ended):.2f} | {left} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="mab_explore")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument(
        "--kept", nargs="+", default=["16x16x4", "16x16x8", "64x4x1"], help="scenarios x rollouts x kept"
    )
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    config = load_config([f"recipe={options.recipe}", *options.overrides])
    kind = Path(config.model.path.removeprefix("tiny:")).name.partition("-")[0]
    known = {name: share for name, (share, _, _) in habits(config.env.name, kind).items()}
    first = {name: share / sum(known.values()) for name, share in known.items()}
    regrets = alone(config, list(first))
    print("alone: " + ", ".join(f"{name} {regret:.2f}" for name, regret in regrets.items()) + "\n")
    print("| rule | scenarios x rollouts, kept | regret, start and iterations | last | left with a tenth |")
    print("|---" * 5 + "|")
    for kept in options.kept:
        tell = partial(
            row, config, first, regrets, sizes=[int(part) for part in kept.split("x")], repeats=options.repeats
        )
        for rule in options.rules:
            print(tell(rule), flush=True)


if __name__ == "__main__":
    main()
