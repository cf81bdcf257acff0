"""How many scenarios an iteration plays, so that runs whose plays differ in length sample as many tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmft_verl.config import RolloutConfig


def affordable(rollout: RolloutConfig, rows: Sequence[Mapping[str, float]]) -> int:
    """Scenarios of the iteration after ``rows`` (metrics of the base and of every iteration so far), at least 1.

    With ``rollout.tokens`` as many as bring the tokens sampled so far to that number an iteration, if plays stay as
    long as they were in the last one.
    """
    if not rollout.tokens or len(rows) < 2:
        return rollout.scenarios
    sampled = sum(row["rollout/tokens"] for row in rows[1:])
    per_play = rows[-1]["rollout/tokens"] / rows[-1]["rollout/plays"]
    left = rollout.tokens * len(rows) - sampled
    return max(1, round(left / (per_play * rollout.rollouts)))
