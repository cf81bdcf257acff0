"""The dialogues of a page as plain JSON values, as many as fit. What many of them share stands there once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.env.regret import REGRETS, regret_curve
from rmft_verl.store.tracking import MOST_SHOWN
from rmft_verl.types import Oracle, Trajectory, Turn

Piece = tuple[int, bool, "float | None"]
"""One token of a reply: its length in UTF-16 units, whether the answer format forced it, its log-probability."""


def embedded(value: Any) -> str:
    """``value`` as JSON that may stand within an HTML element: pure ASCII, without ``<``, ``>`` and ``&``.

    Lone surrogates stay what they are. NaN raises ``ValueError``.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


class Shelf:
    """What a page holds of dialogues. ``size``: its characters as ``embedded``."""

    def __init__(self) -> None:
        self.dialogues: list[dict[str, Any]] = []
        self.size = 0
        self._places: dict[str, int] = {}

    @property
    def shared(self) -> list[Any]:
        """The texts, scenarios and truths that dialogues name by their position."""
        return [json.loads(text) for text in self._places]

    def offer(
        self,
        trajectory: Trajectory,
        facts: dict[str, Any],
        beside: Trajectory | None,
        pieces: Sequence[Sequence[Piece]],
        limit: int,
    ) -> bool:
        """Add a dialogue unless the shelf would be larger than ``limit``; returns whether it was added.

        ``facts``: further entries. ``beside``: another player's trajectory on the same draws. ``pieces``: the tokens
        of each reply; empty if they are not known.
        """
        places, size = len(self._places), self.size
        dialogue = facts | self._told(trajectory, beside, pieces)
        self.size += len(embedded(dialogue)) + 1
        if self.size > limit:
            while len(self._places) > places:
                self._places.popitem()
            self.size = size
            return False
        self.dialogues.append(dialogue)
        return True

    def _told(
        self, trajectory: Trajectory, beside: Trajectory | None, pieces: Sequence[Sequence[Piece]]
    ) -> dict[str, Any]:
        scenario = trajectory.scenario
        known = {"env": scenario.env, "context": scenario.context, "horizon": scenario.horizon}
        replies = pieces or [()] * len(trajectory.turns)
        turns = zip(trajectory.turns, trajectory.asked_again, replies, strict=True)
        return {
            "scenario": self._place(known | {"id": scenario.id, "actions": list(scenario.actions)}),
            "seed": trajectory.reward_seed,
            "valid": trajectory.valid,
            "stop": trajectory.stop_reason.value,
            "error": self._place(shortened(trajectory.error)) if trajectory.error else None,
            "regret": rounded(trajectory.regret),
            "truth": self._place(truth(trajectory.oracle)),
            "kind": trajectory.oracle.kind,
            "curve": curve(trajectory),
            "beside": beside and [beside.player, curve(beside)],
            "turns": [self._turn(turn, again, own) for turn, again, own in turns],
        }

    def _turn(self, turn: Turn, again: bool, pieces: Sequence[Piece]) -> list[Any]:
        """[messages, reply, action, reward, mark, pieces]; a message is [role, text]."""
        messages = [[message.role, self._place(shortened(message.content))] for message in turn.messages]
        action = [rounded(share) for share in turn.action] if isinstance(turn.action, tuple) else turn.action
        mark = "again" if again else "unread" if not turn.parsed else "cut" if turn.cut else ""
        return [messages, self._place(shortened(turn.text)), action, rounded(turn.reward), mark, list(pieces)]

    def _place(self, value: Any) -> int:
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self._places)
            self.size += len(embedded(value)) + 1
        return self._places[key]


def shortened(text: str) -> str:
    """At most ``MOST_SHOWN`` characters of a text, and how many more there are."""
    more = len(text) - MOST_SHOWN
    return text if more <= 0 else f"{text[:MOST_SHOWN]}\n[{more:,} more characters are in the run's files]"


def rounded(value: float | None) -> float | None:
    """Four decimals; None for a number that does not exist."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4) + 0.0


def curve(trajectory: Trajectory) -> list[float | None]:
    """Regret after each round, length T, reward units; empty if the trajectory has no known truth."""
    if trajectory.oracle.kind not in REGRETS:
        return []
    return [rounded(value) for value in regret_curve(trajectory.oracle, trajectory.actions_T)]


def truth(oracle: Oracle) -> list[list[float | None]]:
    """Expected reward of each action, one row per round, or a single row if they stay the same."""
    rows = [[rounded(value) for value in row_A] for row_A in oracle.expected_T_A]
    return rows[:1] if all(row == rows[0] for row in rows) else rows
