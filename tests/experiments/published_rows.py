"""The published rows of the classical players, beside ours: the acceptance test of bandits, players and metrics.

    python tests/experiments/published_rows.py [--precision 0.0025] [--seed 0] [--out docs/results]

Plays UCB, Thompson sampling and greedy on the two Bernoulli instances of Krishnamurthy et al. 2024 (Can large language
models explore in-context?) through the one ``play`` loop. They played 1000 replicates; a thousand of ours would have
errors as large as the tolerances, so each row is played in blocks of 1000 until its shares are precise. How many of the
blocks would have passed alone is shown beside it. Writes OUT/published_rows.md; exits 1 if a row is out of tolerance.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from env_plugins.mab import BanditEnv
from rmft_verl.env.play import play
from rmft_verl.env.regret import score
from rmft_verl.eval import metrics
from rmft_verl.players import make_player
from rmft_verl.types import Scenario

COLUMNS = {
    "MedianReward": metrics.median_reward,
    "SuffFailFreq": metrics.suffix_failure_frequency,
    "K x MinFrac": metrics.scaled_min_fraction,
    "GreedyFrac": metrics.greedy_fraction,
}
TOLERANCES = (0.05, 0.02, 0.02, 0.02)
PUBLISHED: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("hard", "thompson"): (0.47, 0.01, 0.28, 0.62),
    ("hard", "ucb1"): (0.55, 0.02, 0.18, 0.76),
    ("hard", "greedy"): (0.40, 0.48, 0.05, 1.00),
    ("easy", "thompson"): (0.84, 0.00, 0.14, 0.88),
    ("easy", "ucb1"): (0.88, 0.00, 0.09, 0.94),
    ("easy", "greedy"): (0.92, 0.19, 0.04, 1.00),
}
"""(suite, player) -> the values of ``COLUMNS`` at T = 100, SuffFailFreq from T / 2 on, over 1000 replicates."""
BLOCK = 1000


def instance(suite: str) -> Scenario:
    """hard: K = 5, one arm 0.6, four 0.4; easy: K = 4, one arm 0.75, three 0.25; Bernoulli, T = 100."""
    scenario: Scenario = BanditEnv.Generator(**BanditEnv.SUITES[suite]).draw(np.random.default_rng(0))
    return scenario


def replicates(suite: str, player: str, count: int, seed: Sequence[int]) -> np.ndarray:
    """``COLUMNS`` of each of ``count`` plays, shape (count, 4). Every player meets the same rewards."""
    return np.array(asyncio.run(_replicates(suite, player, count, seed)))


async def _replicates(suite: str, player: str, count: int, seed: Sequence[int]) -> list[list[float]]:
    scenario, rows = instance(suite), []
    for i in range(count):
        reward_seed, policy_seed = (int(s) for s in np.random.SeedSequence([*seed, i]).generate_state(2))
        env, decides = BanditEnv(scenario, reward_seed), make_player(player, np.random.default_rng(policy_seed))
        played = score(await play(env, decides, scenario, reward_seed=reward_seed, policy_seed=policy_seed))
        rows.append([column([played]) for column in COLUMNS.values()])
    return rows


def precise(row: tuple[str, str], precision: float, seed: int) -> np.ndarray:
    """Blocks of a row's replicates until the standard errors of its three shares are at most ``precision``."""
    blocks: list[np.ndarray] = []
    while not blocks or errors(np.concatenate(blocks)).max() > precision:
        blocks.append(replicates(*row, BLOCK, [seed, len(blocks)]))
    return np.concatenate(blocks)


def summary(values: np.ndarray) -> np.ndarray:
    """The row that replicates of shape (N, 4) make, shape (4,): the median of rewards, the mean of the others."""
    return np.array([np.median(values[:, 0]), *values[:, 1:].mean(axis=0)])


def errors(values: np.ndarray) -> np.ndarray:
    """Standard errors of the three shares of ``summary``, shape (3,)."""
    return np.asarray(values[:, 1:].std(axis=0) / np.sqrt(len(values)))


def within(published: Sequence[float], ours: np.ndarray) -> list[bool]:
    """Whether each column is within its tolerance; a difference of exactly the tolerance is."""
    pairs = zip(published, ours, TOLERANCES, strict=True)
    return [abs(a - b) <= tolerance + 1e-9 for a, b, tolerance in pairs]


def line(row: tuple[str, str], values: np.ndarray) -> str:
    """The table's line."""
    published, ours = PUBLISHED[row], summary(values)
    blocks = [summary(values[start : start + BLOCK]) for start in range(0, len(values), BLOCK)]
    medians = [block[0] for block in blocks]  # far from normal: their range says more than an error
    spread = [f"[{min(medians):.2f}, {max(medians):.2f}]", *(f"± {error:.3f}" for error in errors(values))]
    cells = [
        f"{p:.2f} / {our:.3f} {around} ({our - p:+.3f}){'' if good else ' **outside**'}"
        for p, our, around, good in zip(published, ours, spread, within(published, ours), strict=True)
    ]
    alone = sum(all(within(published, block)) for block in blocks)
    return "| " + " | ".join((*row, *cells, f"{alone} of {len(blocks)}")) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", type=float, default=0.0025, help="largest standard error of a row's shares")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    lines = [
        f"| suite | player | {' | '.join(COLUMNS)} | blocks of {BLOCK} that pass alone |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    passed = True
    with ProcessPoolExecutor() as pool:
        found = pool.map(partial(precise, precision=options.precision, seed=options.seed), PUBLISHED)
        for row, values in zip(PUBLISHED, found, strict=True):
            lines.append(line(row, values))
            print(lines[-1], flush=True)
            passed = passed and all(within(PUBLISHED[row], summary(values)))
    verdict = "Every row is within its tolerance." if passed else "**A row is outside its tolerance.**"
    print(verdict)
    options.out.mkdir(parents=True, exist_ok=True)
    head = (
        f"Published / ours ± standard error, or [range of the blocks] (difference). Blocks of {BLOCK} replicates, seed "
        f"{options.seed}, until the standard errors of the three shares are at most {options.precision}. Tolerances: "
        f"MedianReward {TOLERANCES[0]}, the others {TOLERANCES[1]}. {verdict}\n\n"
    )
    (options.out / "published_rows.md").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
