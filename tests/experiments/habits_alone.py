"""What does each habit of a tiny base reach when it plays alone, and what do the classical players?

    python tests/experiments/habits_alone.py [RECIPE] [--episodes 16]      # mab_tiny; seconds on one core

On the held-out scenarios of the recipe: normalized regret with its 95 % interval over scenarios, SuffFailFreq and
K x MinFrac. The habits are those that the base was pre-trained on, played without a model: no reply is invalid.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence

from rmft_verl.env import load_env
from rmft_verl.env.seeds import HELD_OUT_SEED, episode_seeds, held_out_scenarios
from rmft_verl.eval import metrics
from rmft_verl.eval.algorithms import play_request, play_requests
from rmft_verl.labs.tiny.habits import HABITS, Memory
from rmft_verl.labs.tiny.policies import POLICY_HABITS, Shares, opening
from rmft_verl.players import BANDIT, FULL_INFORMATION, can_play
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Observation, Reply, RolloutRequest, Trajectory


class ArmsHabit:
    """A habit of ``HABITS`` as a player: the first arm is random."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._rule, self._rng = HABITS[name][2], random.Random(seed)
        self._memory = Memory([], [])

    async def act(self, observation: Observation) -> Reply:
        memory, arms = self._memory, observation.spec.n_actions
        if observation.feedback_A is None or not isinstance(observation.last_action, int):
            self._memory = memory = Memory([0.0] * arms, [0] * arms)
        else:
            memory.last, memory.last_reward = (
                observation.last_action,
                observation.feedback_A.item(observation.last_action),
            )
            memory.wins[memory.last] += memory.last_reward
            memory.tries[memory.last] += 1
        if self._rule is None or memory.last is None:
            return Reply(action=self._rng.randrange(arms))
        return Reply(action=self._rule(memory)[0])


class SharesHabit:
    """A habit of ``POLICY_HABITS`` as a player."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._rule, self._rng = POLICY_HABITS[name][2], random.Random(seed)
        self._given: list[int] = []

    async def act(self, observation: Observation) -> Reply:
        if observation.feedback_A is None:
            self._given = opening(self.name, observation.spec.n_actions, self._rng)
        else:
            self._given, _ = self._rule(Shares(self._given, observation.feedback_A.tolist()))
        return Reply(action=tuple(share / 100 for share in self._given))


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
    player, known = (SharesHabit, POLICY_HABITS) if spec.full_information else (ArmsHabit, HABITS)

    async def played(name: str) -> list[Trajectory]:
        return [await play_request(env_class, player(name, one.policy_seed), one) for one in requests]

    print(f"{len(scenarios)} held-out scenarios of {options.recipe}, {options.episodes} plays of each\n")
    print("| player | normalized regret | SuffFailFreq | K x MinFrac |\n|---|---|---|---|")
    for name in known:
        print(row(f"habit {name}", asyncio.run(played(name))), flush=True)
    for name in (*BANDIT, *FULL_INFORMATION):
        if can_play(name, spec):
            print(row(name, play_requests(env_class, name, requests)), flush=True)


if __name__ == "__main__":
    main()
