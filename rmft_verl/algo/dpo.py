"""DPO on pairs of low and high regret (Rafailov et al. 2023); the reference is the model that played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.algo.method import Column, Method, Rows, Samples, Terms, check_pairs, ranked
from rmft_verl.algo.selection import count, pairs
from rmft_verl.config import Config
from rmft_verl.types import Batch, Scored


class DPO(Method):
    """Samples 2i and 2i + 1 are the chosen and the rejected trajectory of a pair."""

    together = 2
    needs_old = True
    options = ("update.sft_term", "update.margin")

    def check(self, config: Config) -> None:
        check_pairs(config)

    def trained(self, config: Config) -> int:
        return 2 * super().trained(config)

    def plan(self, config: Config) -> str:
        return f"the lowest with the highest {ranked(config)}"

    def choose(self, scored: Sequence[Scored], config: Config, rng: np.random.Generator) -> Batch:
        """Pair the lowest score of each group with the highest, the second lowest with the second highest, ..."""
        keep = count(config.selection.keep, config.rollout.rollouts)
        found = pairs(scored, keep=keep, by=config.selection.group_by, rng=rng, margin=config.update.margin)
        both = [one.trajectory for pair in found for one in pair]
        return Batch(both, kept=[chosen.place for chosen, _ in found])

    def columns(self, samples: Samples, config: Config, verl: Any) -> dict[str, Column]:
        """Count only the tokens of chosen trajectories in the cross-entropy of ``sft_term``."""
        return {"counted": [float(i % 2 == 0) for i in range(len(samples.tokens))]}

    def loss(self, rows: Rows, config: Config, actor: Any) -> Terms:
        """-log sigmoid(margin), averaged over pairs, plus ``sft_term`` x cross-entropy per token of the chosen samples.

        margin = beta ((log p - log p_old) of the chosen - the same of the rejected), summed over sampled tokens.
        """
        import torch
        from torch.nn.functional import logsigmoid

        gained = [(new - old).sum() for new, old in zip(rows.logprobs, rows.columns["old"], strict=True)]
        reward = config.update.beta * torch.stack(gained)
        chosen, rejected = reward[0::2], reward[1::2]
        margin = chosen - rejected
        cross_entropy = -sum(logp.sum() for logp in rows.logprobs[0::2])
        return Terms(
            per_group=-logsigmoid(margin).sum(),
            per_token=config.update.sft_term * cross_entropy,
            metrics={
                "update/dpo_accuracy": (margin > 0).sum(),
                "update/dpo_margin": margin.sum(),
                "update/dpo_chosen": chosen.sum(),
                "update/dpo_rejected": rejected.sum(),
            },
        )
