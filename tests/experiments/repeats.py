"""Does a bandit player use its rewards? What it does after a reward and after none, evaluation by evaluation.

    python tests/experiments/repeats.py RUN ... [--show 25]

A row an evaluation of a run: normalized regret, the share of turns that repeat the last action after a reward and after
none (of an action that had paid before, and of one that never had), the share of trajectories that stay with one
action, and changes of action in a trajectory. Then two rules, eight plays of each of these scenarios: win stay, lose
shift; and the action with the most rewards less misses, which is the likelier one where one of two arms pays as often
as the other does not. ``--show N`` prints the first N trajectories of the first and last evaluation of each run: each
action's name, + for a reward, - for none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from rmft_verl.env import load_env
from rmft_verl.env.play import play_now
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import HELD_OUT_SEED, episode_seeds
from rmft_verl.eval import metrics
from rmft_verl.players.arms import argmax, pulled
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Observation, Reply, Scenario, Trajectory

EPISODES = 8


class WinStay:
    """Repeats what has just paid, and takes another action, any, after what has not."""

    name = "win stay, lose shift"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._evidence_A: list[float] = []

    async def act(self, observation: Observation) -> Reply:
        last, n_actions = pulled(observation), observation.spec.n_actions
        if last is None:
            self._evidence_A = [0.0] * n_actions
        else:
            self._learn(last[0], 1.0 if last[1] >= 0.5 else -1.0)
        return Reply(action=argmax(self._evidence_A, self._rng))

    def _learn(self, arm: int, sign: float) -> None:
        self._evidence_A = [sign if action == arm else 0.0 for action in range(len(self._evidence_A))]


class Counting(WinStay):
    """Takes the action with the most rewards less misses."""

    name = "rewards less misses"

    def _learn(self, arm: int, sign: float) -> None:
        self._evidence_A[arm] += sign


def by_rule(rule: type[WinStay], scenarios: Sequence[Scenario]) -> list[Trajectory]:
    plays = []
    for index, scenario in enumerate(scenarios):
        for episode in range(EPISODES):
            reward_seed, policy_seed = episode_seeds(HELD_OUT_SEED, index, episode)
            player = rule(np.random.default_rng(policy_seed))
            env_class = load_env(scenario.env)
            plays.append(play_now(env_class, player, scenario, reward_seed=reward_seed, policy_seed=policy_seed))
    return [score(played) for played in plays]


def row(name: str, played: Sequence[Trajectory]) -> str:
    repeats: dict[str, list[bool]] = {"paid": [], "none": [], "none, had paid": [], "none, never": []}
    changes = []
    for one in played:
        actions, paid = [turn.action for turn in one.turns], [bool(turn.reward) for turn in one.turns]
        same = [a == b for a, b in pairwise(actions)]
        changes.append(len(same) - sum(same))
        for t, stayed in enumerate(same):
            repeats["paid" if paid[t] else "none"].append(stayed)
            if not paid[t]:
                had = any(paid[i] for i in range(t) if actions[i] == actions[t])
                repeats["none, had paid" if had else "none, never"].append(stayed)
    one_action = np.mean([change == 0 for change in changes])
    value, low, high = metrics.normalized_regret_interval(played)
    shares = " | ".join(f"{np.mean(stayed):.0%}" for stayed in repeats.values())
    return f"| {name} | {value:.3f} [{low:.3f}, {high:.3f}] | {shares} | {one_action:.0%} | {np.mean(changes):.2f} |"


def words(one: Trajectory) -> str:
    names = one.scenario.actions
    return " ".join(
        f"{names[turn.action]}{'+' if turn.reward else '-'}" for turn in one.turns if isinstance(turn.action, int)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--show", type=int, default=0, metavar="N")
    options = parser.parse_args()
    print(
        "| run, updates | regret | repeats after a reward | after none | of an action that had paid | that never had "
        "| one action only | changes |"
    )
    print("|---|---|---|---|---|---|---|---|")
    shown: list[str] = []
    for path in options.runs:
        run = RunDir.open(path)
        versions = run.recorded("eval")
        for n in versions:
            played = [one for one in read_trajectories(run.trajectories("eval", n)) if one.oracle.kind != "external"]
            print(row(f"{path.name}, {n}", played))
            if n in (versions[0], versions[-1]):
                shown += [f"{path.name} after {n} updates: {words(one)}" for one in played[: options.show]]
    scenarios = list({one.scenario.id: one.scenario for one in played}.values())
    for rule in (WinStay, Counting):
        print(row(rule.name, by_rule(rule, scenarios)))
    print("\n".join(shown))


if __name__ == "__main__":
    main()
