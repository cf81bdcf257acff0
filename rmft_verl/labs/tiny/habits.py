"""The weak habits of bandit play that the tiny models are pre-trained on.

One habit plays a dialogue from start to end and names itself in its thoughts. The mixture has the failures reported of
real models, play that ignores the rewards and play that stops exploring (Krishnamurthy et al. 2024), and some
competence, so that selection has something to find. Most decisions need only the last reply, its reward and the list of
arms: a tiny model learns that in minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

GOOD_ENOUGH = 0.6
"""The patient habit stays with an arm while its average is at least this. Means are uniform in 0.1 to 0.9 here."""

ENOUGH = 5
"""Tries of every arm after which the habit that explores, then commits, does."""


@dataclass
class Memory:
    """What a habit has seen. ``wins`` and ``tries`` have one entry per arm."""

    wins: list[float]
    tries: list[int]
    last: int | None = None
    last_reward: float = 0.0

    def mean(self, arm: int) -> float:
        """Average reward of ``arm`` so far, 0 if it was never tried."""
        return self.wins[arm] / self.tries[arm] if self.tries[arm] else 0.0

    def next(self) -> int:
        """The arm listed after the last one."""
        assert self.last is not None
        return (self.last + 1) % len(self.tries)


Habit = Callable[[Memory], tuple[int, str]]
"""Rule for later rounds: memory -> arm and thought. ``{tally}`` becomes the arm's name with its wins and tries."""


def _rotate(memory: Memory) -> tuple[int, str]:
    return memory.next(), "Each in turn."


def _stick(memory: Memory) -> tuple[int, str]:
    assert memory.last is not None
    return memory.last, "I keep to one."


def _greedy(memory: Memory) -> tuple[int, str]:
    best = max(range(len(memory.tries)), key=memory.mean)
    return best if memory.wins[best] else memory.next(), "Take what looks best: {tally}."


def _win_stay(memory: Memory) -> tuple[int, str]:
    assert memory.last is not None
    return (memory.last, "It paid, so stay.") if memory.last_reward > 0 else (memory.next(), "It failed, so switch.")


def _patient(memory: Memory) -> tuple[int, str]:
    assert memory.last is not None
    if memory.mean(memory.last) >= GOOD_ENOUGH:
        return memory.last, "Good enough so far: {tally}."
    return memory.next(), "Not good enough, next: {tally}."


HABITS: dict[str, tuple[float, str, Habit | None]] = {
    "uniform": (0.10, "Any one will do.", None),
    "rotate": (0.25, "Each in turn.", _rotate),
    "stick": (0.20, "I keep to one.", _stick),
    "greedy": (0.20, "Take what looks best: {tally}.", _greedy),
    "win_stay": (0.10, "See whether it pays.", _win_stay),
    "patient": (0.15, "Test for a good one: {tally}.", _patient),
}
"""Name -> share of the dialogues, thought of the first round (whose arm is random), rule for later rounds.

Without a rule (None) every arm is random. ``docs/selection.md`` says why this mixture leaves room to learn.
"""

GOOD = ("greedy", "patient", "commit")
"""The habits of lowest regret, which the base ``weak`` lacks."""


def _least_tried(memory: Memory) -> int:
    return memory.tries.index(min(memory.tries))


def _most_tried(memory: Memory) -> tuple[int, str]:
    return memory.tries.index(max(memory.tries)), "Same."


def _best_average(memory: Memory) -> tuple[int, str]:
    best = max(range(len(memory.tries)), key=memory.mean)
    return best if memory.wins[best] else _least_tried(memory), "Best."


def _commit(memory: Memory) -> tuple[int, str]:
    if min(memory.tries) < ENOUGH:
        return _least_tried(memory), "Test."
    return max(range(len(memory.tries)), key=memory.mean), "Test."


SUMMARY_HABITS: dict[str, tuple[float, str, Habit | None]] = {
    "uniform": (0.30, "Any.", None),
    "stick": (0.25, "Same.", _most_tried),
    "greedy": (0.25, "Best.", _best_average),
    "commit": (0.20, "Test.", _commit),
}
"""As ``HABITS``, for games whose past is told as a summary: counts and averages are all that such a habit knows."""
