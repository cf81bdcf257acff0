"""RMFT: cross-entropy on the k lowest-regret trajectories of each scenario (Park et al. 2026, Algorithm 1).

With another ``selection.score`` the same update is the reward filter, posterior regret or the random control.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.algo.method import Column, Method, Rows, Samples, Terms
from rmft_verl.algo.selection import count, select
from rmft_verl.config import Config
from rmft_verl.types import Batch, Scored


class RMFT(Method):
    """Maximizes the likelihood of the sampled tokens of kept trajectories."""

    options = ("selection.threshold", "selection.accept", "update.train_on", "update.weighting")

    def choose(self, scored: Sequence[Scored], config: Config, rng: np.random.Generator) -> Batch:
        """Choose the lowest scores of each group, or by chance the likelier the lower."""
        chosen, keep = config.selection, count(config.selection.keep, config.rollout.rollouts)
        kept = select(scored, keep=keep, by=chosen.group_by, rng=rng, threshold=chosen.threshold, rule=chosen.accept)
        return Batch([one.trajectory for one in kept], kept=[one.place for one in kept])

    def columns(self, samples: Samples, config: Config, verl: Any) -> dict[str, Column]:
        """If trajectories count alike, a sample's weight is 1 / (samples of its trajectory), scaled to mean 1."""
        if config.update.weighting == "token":
            return {}
        rows_of = Counter(samples.trajectory)
        mean = len(samples.trajectory) / len(rows_of)
        return {"weight": [mean / rows_of[i] for i in samples.trajectory]}

    def loss(self, rows: Rows, config: Config, actor: Any) -> Terms:
        """-log p, averaged over tokens; or over the tokens of a sample, then over samples by their weight."""
        if config.update.weighting == "token":
            return Terms(per_token=-sum(logp.sum() for logp in rows.logprobs))
        pairs = zip(rows.columns["weight"], rows.logprobs, strict=True)
        return Terms(per_group=-sum(weight * logp.mean() for weight, logp in pairs))
