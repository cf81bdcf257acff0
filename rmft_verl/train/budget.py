"""Sets the number of scenarios, so that runs whose trajectories differ in length sample equally many tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rmft_verl.config import RolloutConfig


def affordable(rollout: RolloutConfig, rows: Sequence[Mapping[str, float]]) -> int:
    """Number of scenarios of the next iteration, at least 1. ``rows``: metrics of the base and all iterations so far.

    With ``rollout.tokens`` the sampled tokens reach that number per iteration on average, if trajectories stay as long
    as in the last iteration.
    """
    if not rollout.tokens or len(rows) < 2:
        return rollout.scenarios
    sampled = sum(row["rollout/tokens"] for row in rows[1:])
    per_play = rows[-1]["rollout/tokens"] / rows[-1]["rollout/plays"]
    left = rollout.tokens * len(rows) - sampled
    return max(1, round(left / (per_play * rollout.rollouts)))
