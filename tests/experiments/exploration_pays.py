"""In which suites does exploration pay, and by how much? Regret of the explorer / regret of the player that does not.

    python tests/experiments/exploration_pays.py [--scenarios 1000]      # minutes on one core

The plays are those of ``rmft-verl eval ENV:SUITE --players ... --scenarios N``: one a scenario, with the draws of all
players in common. Prints, for each suite, the normalized regret of every player and the ratio of the two named ones,
with 95 % intervals over scenarios. In drifting bandits an explorer is one that forgets.
"""

from __future__ import annotations

import argparse

from rmft_verl.env import load_env
from rmft_verl.env.seeds import HELD_OUT_SEED, draw_held_out, episode_seeds
from rmft_verl.eval import metrics
from rmft_verl.eval.algorithms import play_requests
from rmft_verl.eval.metrics import Interval
from rmft_verl.types import RolloutRequest, Trajectory

STATIONARY = ("greedy", "ucb1", "ucb1_auer", "thompson")
SUITES: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("mab", "explore"): ("ucb1", ("greedy",)),
    ("mab", "explore_small"): ("ucb1", ("greedy",)),
    ("mab", "hard"): ("ucb1", ("greedy",)),
    ("mab", "hard_200"): ("ucb1", ("greedy",)),
    ("mab", "train"): ("ucb1", ("greedy",)),
    ("nsmab", "explore"): ("discounted_ucb", STATIONARY),
    ("nsmab", "explore_small"): ("discounted_ucb", STATIONARY),
    ("nsmab", "train"): ("sw_ucb", STATIONARY),
}
"""Environment and suite -> the player that explores, and those that it is held against."""


def plays(env: str, suite: str, names: tuple[str, ...], scenarios: int) -> dict[str, list[Trajectory]]:
    """Player -> one play of each scenario, as ``rmft-verl eval`` has them."""
    env_class = load_env(env)
    drawn = draw_held_out(env_class, dict(env_class.SUITES[suite]), scenarios)  # type: ignore[attr-defined]
    requests = [RolloutRequest(one, *episode_seeds(HELD_OUT_SEED, n, 0)) for n, one in enumerate(drawn)]
    return {name: play_requests(env_class, name, requests) for name in names}


def share(env: str, suite: str, scenarios: int) -> tuple[dict[str, Interval], str, Interval]:
    """The regret of every player, the best of those that do not explore, and the explorer's share of its regret."""
    explorer, others = SUITES[env, suite]
    played = plays(env, suite, (explorer, *others), scenarios)
    regrets = {name: metrics.normalized_regret_interval(each) for name, each in played.items()}
    rival = min(others, key=lambda name: regrets[name].value)
    change = metrics.relative_change(played[rival], played[explorer])
    return regrets, rival, Interval(*(1 + value for value in change))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=1000)
    scenarios = parser.parse_args().scenarios
    print("| suite | normalized regret | ratio [95 %] |\n|---|---|---|", flush=True)
    for env, suite in SUITES:
        regrets, rival, ratio = share(env, suite, scenarios)
        told = ", ".join(
            f"{name} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" for name, value in regrets.items()
        )
        explorer = SUITES[env, suite][0]
        found = f"{explorer} / {rival}: {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
        print(f"| `{env}:{suite}` | {told} | {found} |", flush=True)


if __name__ == "__main__":
    main()
