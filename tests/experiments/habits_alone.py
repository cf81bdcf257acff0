"""What does each habit of a tiny base reach when it plays alone, and what do the classical players?

    python tests/experiments/habits_alone.py [RECIPE] [--episodes 16]      # mab_tiny; seconds on one core

On the held-out scenarios of the recipe: normalized regret with its 95 % interval over scenarios, SuffFailFreq and
K x MinFrac. The habits are those that the base was pre-trained on, played without a model: no reply is invalid.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from rmft_verl.env import load_env
from rmft_verl.env.seeds import HELD_OUT_SEED, episode_seeds, held_out_scenarios
from rmft_verl.eval import metrics
from rmft_verl.eval.algorithms import play_request, play_requests
from rmft_verl.labs.tiny.players import habit_players
from rmft_verl.players import BANDIT, FULL_INFORMATION, can_play
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import RolloutRequest, Trajectory


def row(name: str, plays: Sequence[Trajectory]) -> str:
    value, low, high = metrics.normalized_regret_interval(plays)
    cells = (f"{value:.3f} [{low:.3f}, {high:.3f}]", *map("{:.3f}".format, _behavior(plays)))
    return f"| {name} | {' | '.join(cells)} |"


def _behavior(plays: Sequence[Trajectory]) -> tuple[float, float]:
    return metrics.suffix_failure_frequency(plays), metrics.scaled_min_fraction(plays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="mab_tiny")
    parser.add_argument("--episodes", type=int, default=16)
    options = parser.parse_args()
    config = load_config([f"recipe={options.recipe}"])
    env_class = load_env(config.env.name)
    scenarios = held_out_scenarios(config, env_class)
    requests = [
        RolloutRequest(scenario, *episode_seeds(HELD_OUT_SEED, index, episode))
        for index, scenario in enumerate(scenarios)
        for episode in range(options.episodes)
    ]
    spec = env_class(scenarios[0], 0).reset().spec
    known = habit_players(config.model.path, config.env.name)

    async def played(name: str) -> list[Trajectory]:
        return [await play_request(env_class, known[name](one.policy_seed), one) for one in requests]

    print(f"{len(scenarios)} held-out scenarios of {options.recipe}, {options.episodes} plays of each\n")
    print("| player | normalized regret | SuffFailFreq | K x MinFrac |\n|---|---|---|---|")
    for name in known:
        print(row(f"habit {name}", asyncio.run(played(name))), flush=True)
    for name in (*BANDIT, *FULL_INFORMATION):
        if can_play(name, spec):
            print(row(name, play_requests(env_class, name, requests)), flush=True)


if __name__ == "__main__":
    main()
