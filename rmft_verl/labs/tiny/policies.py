"""The weak habits of full-information play: they set shares from the last rewards and the last shares alone.

Some ignore what is revealed, some chase the last winner, one learns slowly. None sums rewards, because a tiny model
cannot. Shares are whole hundredths.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STEP = 15
"""Hundredths that the habit ``shift`` moves per round."""


@dataclass
class Shares:
    """What a habit sees: ``last`` are the hundredths it gave, ``revealed`` the rewards that followed."""

    last: list[int]
    revealed: Sequence[float] = ()

    @property
    def best(self) -> int:
        return max(range(len(self.last)), key=lambda a: self.revealed[a])

    @property
    def worst(self) -> int:
        return min(range(len(self.last)), key=lambda a: self.revealed[a])


def even(n_actions: int) -> list[int]:
    """Equal hundredths; the first actions get the remainder."""
    each, over = divmod(100, n_actions)
    return [each + (a < over) for a in range(n_actions)]


def all_on(action: int, n_actions: int) -> list[int]:
    return [100 * (a == action) for a in range(n_actions)]


def _even(shares: Shares) -> tuple[list[int], str]:
    return even(len(shares.last)), "Even shares."


def _stick(shares: Shares) -> tuple[list[int], str]:
    return shares.last, "I keep to one."


def _chase(shares: Shares) -> tuple[list[int], str]:
    return all_on(shares.best, len(shares.last)), "Back the last winner, {best}."


def _contrary(shares: Shares) -> tuple[list[int], str]:
    return all_on(shares.worst, len(shares.last)), "The last loser is due, {worst}."


def _shift(shares: Shares) -> tuple[list[int], str]:
    """Move up to ``STEP`` hundredths to the last winner, from the others, the worst first."""
    after, wanted = list(shares.last), STEP
    for action in sorted(range(len(after)), key=lambda a: shares.revealed[a]):
        if action != shares.best:
            given = min(wanted, after[action])
            after[action] -= given
            after[shares.best] += given
            wanted -= given
    return after, "A step towards the last winner, {best}."


PolicyHabit = Callable[[Shares], tuple[list[int], str]]
"""Rule for later rounds: shares -> hundredths and thought.

``{best}`` and ``{worst}`` become the actions that paid most and least: a tiny model that has said a name finds the
shares that follow from it."""

POLICY_HABITS: dict[str, tuple[float, str, PolicyHabit]] = {
    "even": (0.25, "Even shares.", _even),
    "stick": (0.20, "I keep to one.", _stick),
    "chase": (0.20, "Back the last winner.", _chase),
    "contrary": (0.15, "The last loser is due.", _contrary),
    "shift": (0.20, "A step towards the last winner.", _shift),
}
"""Name -> share of the dialogues, thought of the first round, rule for later rounds."""


def opening(habit: str, n_actions: int, rng: random.Random) -> list[int]:
    """The shares of the first round: even for ``even`` and ``shift``, else all on one random action."""
    return even(n_actions) if habit in ("even", "shift") else all_on(rng.randrange(n_actions), n_actions)


def reply(thought: str, hundredths: Sequence[int], names: Sequence[str]) -> str:
    """The text of a reply: the thought, then the shares."""
    shares = ", ".join(f"{name} {share / 100:.2f}" for name, share in zip(names, hundredths, strict=True))
    return f"{thought}\nPolicy: {shares}"
