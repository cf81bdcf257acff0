"""How fast algorithms play: UCB1 through the one ``play`` loop beside MABWiser, and the reference tables.

    python tests/benchmarks/players.py

One core, process time, best of five. MABWiser gets the same rewards and does the same decisions without an environment,
words, seeds or a record of the play: it is the yardstick, not a competitor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
from mabwiser.mab import MAB, LearningPolicy

from rmft_verl.env import load_env
from rmft_verl.env.play import play
from rmft_verl.eval.algorithms import REFERENCES, evaluate_players
from rmft_verl.eval.table import summarize
from rmft_verl.players import can_play, make_player
from rmft_verl.types import Scenario

REPEATS = 5
EPISODES, HORIZON, ARMS = 50, 100, 5


def seconds(work: Callable[[], None]) -> float:
    """Process time of the fastest of ``REPEATS``."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def scenarios(env_name: str, count: int, **options: object) -> list[Scenario]:
    generator, rng = load_env(env_name).Generator(**options), np.random.default_rng(0)
    return [generator.draw(rng) for _ in range(count)]


def through_play(name: str) -> float:
    """Rounds a second."""
    bandit, games = load_env("mab"), scenarios("mab", EPISODES, arms=[ARMS], horizon=[HORIZON])

    async def episodes() -> None:
        for seed, scenario in enumerate(games):
            player = make_player(name, np.random.default_rng(seed))
            await play(bandit(scenario, seed), player, scenario, reward_seed=seed, policy_seed=seed)

    return EPISODES * HORIZON / seconds(lambda: asyncio.run(episodes()))


def through_mabwiser() -> float:
    """Rounds a second of predict and partial_fit, arms pulled once first."""
    tape = np.random.default_rng(0).random((HORIZON, ARMS)) < 0.5
    arms = list(range(ARMS))

    def episode() -> None:
        mab = MAB(arms, LearningPolicy.UCB1(alpha=1.0))
        mab.fit(arms, tape[0].astype(float))
        for t in range(ARMS, HORIZON):
            arm = mab.predict()
            mab.partial_fit([arm], [float(tape[t, arm])])

    return HORIZON / seconds(episode)


def table_seconds(env_name: str, kind: str) -> float:
    """All reference players on 200 scenarios, their table included."""
    env_class, games = load_env(env_name), scenarios(env_name, 200)
    spec = env_class(games[0], 0).reset().spec
    names = [name for name in REFERENCES[kind] if can_play(name, spec)]
    return seconds(lambda: print(end=summarize(evaluate_players(env_class, names, games, 1, 0)).text()[:0]))


def main() -> None:
    theirs = through_mabwiser()
    print(f"{'MABWiser UCB1, no environment':32} {theirs:10,.0f} rounds/s")
    for name in ("ucb1", "ucb1_auer", "greedy", "thompson"):
        ours = through_play(name)
        print(f"{name + ' through play':32} {ours:10,.0f} rounds/s   {ours / theirs:5.1f} x MABWiser")
    for env_name, kind in (("mab", "pseudo"), ("nsmab", "dynamic"), ("fol", "external")):
        print(f"{f'reference table of 200 {env_name}':32} {table_seconds(env_name, kind):10.1f} s")


if __name__ == "__main__":
    main()
