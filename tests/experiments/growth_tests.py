"""What the trend test and the regression test say of players whose growth is known: their calibration.

    python tests/experiments/growth_tests.py [--repeats 40] [--scenarios 50] [--seed 0] [--out docs/results]

Each repeat draws fresh scenarios, lets every player play them once through the one ``play`` loop, and runs the tests on
the mean regret curve. Writes OUT/growth_tests.md; exits 1 if the decision rule (``metrics.Growth.sublinear``) calls a
player of linear regret sublinear, or Hedge (gap, T = 100), UCB1 or Thompson sampling (hard) not, or if the medians of
the published tests call uniform play on gap sequences sublinear, or Hedge not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from env_plugins.fol import FullInformationEnv
from env_plugins.mab import BanditEnv
from rmft_verl.env import Env
from rmft_verl.env.play import play
from rmft_verl.env.regret import score
from rmft_verl.eval import metrics
from rmft_verl.eval.metrics import Growth
from rmft_verl.players import make_player
from rmft_verl.types import Scenario, Trajectory


@dataclass(frozen=True)
class Case:
    """Games of one law, and players whose growth on them is known."""

    name: str
    env_class: type[Env]
    options: Mapping[str, Any]
    players: tuple[str, ...]
    horizons: tuple[int, ...] = (25, 100)
    size: tuple[int, int] | None = None
    """Repeats and scenarios instead of those of the command line, where fewer repeats of more scenarios tell more."""


LINEAR = ("uniform", "greedy", "eps_greedy")
GAP, HARD = "gap", "hard"
CASES = (
    Case(GAP, FullInformationEnv, {"actions": 2, "sequence": "uniform_gap", "gap": 0.2}, ("uniform", "hedge")),
    Case("no gap", FullInformationEnv, {"actions": 2, "sequence": "uniform"}, ("uniform", "hedge")),
    Case("alternating", FullInformationEnv, {"actions": 2, "sequence": "alternating"}, ("ftl", "hedge")),
    Case("bandit", BanditEnv, {"arms": 4, "means": "one_best", "min_gap": 0.5}, ("uniform", "ucb1")),
    # Greedy and eps_greedy improve at first and have linear regret from then on.
    Case(
        HARD,
        BanditEnv,
        {"arms": 5, "means": "one_best", "min_gap": 0.2},
        ("greedy", "eps_greedy", "ucb1", "thompson"),
        (400,),
        (5, 300),
    ),
)


async def _play(case: Case, player: str, scenarios: Sequence[Scenario], seed: Sequence[int]) -> list[Trajectory]:
    plays = []
    for i, scenario in enumerate(scenarios):
        reward_seed, policy_seed = (int(s) for s in np.random.SeedSequence([*seed, i]).generate_state(2))
        env, decides = case.env_class(scenario, reward_seed), make_player(player, np.random.default_rng(policy_seed))
        plays.append(score(await play(env, decides, scenario, reward_seed=reward_seed, policy_seed=policy_seed)))
    return plays


def growths(case: Case, horizon: int, repeats: int, n_scenarios: int, seed: int) -> dict[str, list[Growth]]:
    """Each player's ``Growth`` in each repeat; the players of a repeat meet the same scenarios."""
    generator = case.env_class.Generator(**case.options, horizon=horizon)
    found: dict[str, list[Growth]] = {player: [] for player in case.players}
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        scenarios = [generator.draw(rng) for _ in range(n_scenarios)]
        for player, of_player in found.items():
            of_player.append(metrics.growth(asyncio.run(_play(case, player, scenarios, [seed, repeat]))))
    return found


def row(case: str, horizon: int, player: str, found: Sequence[Growth]) -> str:
    """The table's line."""
    slopes = np.array([one.regression.slope for one in found])
    p_trend = np.array([one.trend.p for one in found])
    cells = (
        case,
        str(horizon),
        player,
        f"{np.median(p_trend):.2g}",
        share(p_trend < 0.05),
        f"{slopes.mean():.2f} ± {slopes.std():.2f}",
        f"{np.mean([one.uniform_slope for one in found]):.2f}",
        f"{max(one.regression.p_reg for one in found):.1g}",
        share(np.array([one.regression.p_below_one < 0.05 for one in found])),
        share(np.array([one.against_uniform.high < 0 for one in found])),
        share(np.array([one.late.high <= 0 for one in found])),
        share(np.array([one.sublinear for one in found])),
    )
    return "| " + " | ".join(cells) + " |"


def share(flags: np.ndarray) -> str:
    return f"{flags.mean():.0%}"


def complaints(case: str, horizon: int, by_player: Mapping[str, Sequence[Growth]]) -> list[str]:
    """What is wrong about the gap sequences and the hard bandits: one sentence each."""
    wrong = []
    for player, found in by_player.items():
        called = np.mean([one.sublinear for one in found])
        if (called > 0.1) if player in LINEAR else (called < 0.9 and horizon >= 100):  # 25 rounds may show too little
            wrong.append(f"{case}, T = {horizon}: the rule calls {player} sublinear in {called:.0%} of the repeats")
    if case == GAP:
        for player, falls in (("uniform", False), ("hedge", True)):
            p_trend = np.median([one.trend.p for one in by_player[player]])
            if (p_trend < 0.05) != falls:
                wrong.append(f"{case}, T = {horizon}: the median p_trend of {player} is {p_trend:.2g}")
        if np.mean([one.against_uniform.value for one in by_player["hedge"]]) >= 0:
            wrong.append(f"{case}, T = {horizon}: the slope of hedge is not below that of uniform play")
    return wrong


HEAD = (
    "| games | T | player | median p_trend | p_trend < 0.05 | slope (mean ± sd) | slope of uniform play "
    "| largest p_reg | p(slope < 1) < 0.05 | slope below uniform's "
    "| late regret fades | rule: sublinear |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--scenarios", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    lines, wrong = list(HEAD), []
    print("\n".join(lines), flush=True)
    for case in CASES:
        for horizon in case.horizons:
            found = growths(case, horizon, *(case.size or (options.repeats, options.scenarios)), options.seed)
            for player, of_player in found.items():
                lines.append(row(case.name, horizon, player, of_player))
                print(lines[-1], flush=True)
            if case.name in (GAP, HARD):
                wrong += complaints(case.name, horizon, found)
    print("\n".join(wrong) or "No player of linear regret is called sublinear; Hedge, UCB1 and Thompson sampling are.")
    options.out.mkdir(parents=True, exist_ok=True)
    intro = (
        f"{options.repeats} repeats of the tests on the mean regret curve of {options.scenarios} scenarios, each "
        f"played once, seed {options.seed}; shares are of the repeats. gap, no gap, alternating: full information, "
        "K = 2 (gap 0.2); bandit: Bernoulli, K = 4, gap 0.5; hard: Bernoulli, K = 5, gap 0.2, 5 repeats of 300 "
        "scenarios. What the columns mean is in docs/metrics.md.\n\n"
    )
    (options.out / "growth_tests.md").write_text(intro + "\n".join(lines) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
