"""Players times scenarios: the same scenarios, the same draws, one table."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rmft_verl import metrics
from rmft_verl.env import Env
from rmft_verl.metrics import Interval
from rmft_verl.play import Player, play
from rmft_verl.players import make_player
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.regret import score
from rmft_verl.types import Scenario, Trajectory

if TYPE_CHECKING:
    from rich.table import Table

REFERENCES = ("uniform", "greedy", "ucb1", "thompson")
"""The players every language model is shown beside."""


def episode_seeds(seed: int, scenario_index: int, episode: int) -> tuple[int, int]:
    """(reward_seed, policy_seed) of one episode of an evaluation: whoever uses them plays against the same draws."""
    reward_seed, policy_seed = np.random.SeedSequence([seed, scenario_index, episode]).generate_state(2)
    return int(reward_seed), int(policy_seed)


def evaluate_players(
    env_class: type[Env], names: Sequence[str], scenarios: Sequence[Scenario], episodes: int, seed: int
) -> dict[str, list[Trajectory]]:
    """Each named player (``PLAYERS`` or ``oracle``) on each scenario, ``episodes`` times, scored.

    Episode e of scenario i has the seeds ``episode_seeds(seed, i, e)`` for every player. Must not be called from within
    a running event loop.
    """
    return asyncio.run(_evaluate_players(env_class, names, scenarios, episodes, seed))


async def _evaluate_players(
    env_class: type[Env], names: Sequence[str], scenarios: Sequence[Scenario], episodes: int, seed: int
) -> dict[str, list[Trajectory]]:
    return {
        name: [
            await _play(env_class, name, scenario, *episode_seeds(seed, index, episode))
            for index, scenario in enumerate(scenarios)
            for episode in range(episodes)
        ]
        for name in names
    }


async def _play(env_class: type[Env], name: str, scenario: Scenario, reward_seed: int, policy_seed: int) -> Trajectory:
    async def once(player: Player) -> Trajectory:
        env = env_class(scenario, reward_seed)
        return score(await play(env, player, scenario, reward_seed=reward_seed, policy_seed=policy_seed))

    if name != "oracle":
        return await once(make_player(name, np.random.default_rng(policy_seed)))
    # The truth leaves an environment only after a play, so somebody plays first.
    first = await once(make_player("uniform", np.random.default_rng(policy_seed)))
    return await once(OraclePlayer(first.oracle.expected_T_A))


@dataclass(frozen=True)
class EvalRow:
    """One player's line. Units and ranges are those of ``metrics``."""

    player: str
    regret: float
    normalized_regret: Interval
    suffix_failure: float
    min_fraction: float
    """K x MinFrac."""
    greedy_fraction: float
    invalid_rate: float
    n_scenarios: int
    n_episodes: int
    n_failed: int
    """Episodes whose environment or player raised: they count in no other column but ``n_episodes``."""

    def to_json(self) -> dict[str, Any]:
        """Flat and plain: the interval as ``_low`` and ``_high``, None where a number does not exist."""
        row = asdict(self) | {
            "normalized_regret": self.normalized_regret.value,
            "normalized_regret_low": self.normalized_regret.low,
            "normalized_regret_high": self.normalized_regret.high,
        }
        return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}


@dataclass(frozen=True)
class EvalTable:
    """Rows for people (``rich.print(table)``, ``text()``) and for programs (``to_json``)."""

    rows: tuple[EvalRow, ...]

    def to_json(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]

    def text(self) -> str:
        """The table as plain text, 110 columns wide."""
        from rich.console import Console

        console = Console(file=io.StringIO(), width=110, color_system=None)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table(
            caption="Normalized regret: 0 = oracle, 1 = uniform play; 95 % bootstrap interval over scenarios."
        )
        table.add_column("player")
        for header in ("regret", "normalized", "95 %", "SuffFail", "K×MinFrac", "GreedyFrac", "invalid", "episodes"):
            table.add_column(header, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*_cells(row))
        return table


def _cells(row: EvalRow) -> list[str]:
    _, low, high = row.normalized_regret
    return [
        row.player,
        f"{row.regret:.2f}",
        f"{row.normalized_regret.value:.3f}",
        "–" if np.isnan(low) else f"{low:.3f}–{high:.3f}",
        f"{row.suffix_failure:.2f}",
        f"{row.min_fraction:.2f}",
        f"{row.greedy_fraction:.2f}",
        f"{row.invalid_rate:.1%}",
        f"{row.n_scenarios}×{row.n_episodes / row.n_scenarios:g}" + (f" ({row.n_failed} failed)" * (row.n_failed > 0)),
    ]


def summarize(sets: Mapping[str, Sequence[Trajectory]], seed: int = 0) -> EvalTable:
    """One row per named set of scored trajectories; ``ValueError`` for a set in which none is scored."""
    return EvalTable(tuple(_row(name, trajectories, seed) for name, trajectories in sets.items()))


def _row(name: str, trajectories: Sequence[Trajectory], seed: int) -> EvalRow:
    finished = metrics.scored(trajectories)
    if not finished:
        errors = [trajectory.error for trajectory in trajectories if trajectory.error]
        raise ValueError(
            f"{name}: none of {len(trajectories)} episodes is scored. {errors[0] if errors else ''}".strip()
        )
    return EvalRow(
        player=name,
        regret=metrics.mean_regret(finished),
        normalized_regret=metrics.normalized_regret_interval(finished, seed),
        suffix_failure=metrics.suffix_failure_frequency(finished),
        min_fraction=metrics.scaled_min_fraction(finished),
        greedy_fraction=metrics.greedy_fraction(finished),
        invalid_rate=metrics.invalid_rate(finished),
        n_scenarios=len({trajectory.scenario.id for trajectory in finished}),
        n_episodes=len(trajectories),
        n_failed=len(trajectories) - len(finished),
    )
