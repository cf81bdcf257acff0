"""What one update trains on, by the paradigm that the configuration names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmft_verl.algo.credit import credited
from rmft_verl.algo.selection import count, pairs, select
from rmft_verl.config import Config
from rmft_verl.types import Batch, CreditedTrajectory, PreferencePair, Scored, Trajectory


def choose(scored: Sequence[Scored], config: Config, rng: np.random.Generator) -> Batch:
    """For ``sft`` the lowest scores, for ``dpo`` pairs of low and high, for ``grpo`` every play with its credit."""
    selection, update = config.selection, config.update
    if update.loss == "grpo":
        return [credited(play, update.credit) for play in scored]
    keep, by = count(selection.keep, config.rollout.rollouts), selection.group_by
    if update.loss == "dpo":
        return pairs(scored, keep=keep, by=by, rng=rng, margin=update.margin)
    return select(scored, keep=keep, by=by, rng=rng, threshold=selection.threshold)


def favored(batch: Batch) -> list[Trajectory]:
    """The plays of a batch that the update makes more likely: kept, chosen, or (for ``grpo``) weighed by credit."""
    plays: list[Trajectory] = []
    for one in batch:
        if isinstance(one, PreferencePair):
            plays.append(one.chosen)
        else:
            plays.append(one.trajectory if isinstance(one, CreditedTrajectory) else one)
    return plays
