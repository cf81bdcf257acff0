"""From what turns are credited with to advantages of tokens: GRPO turn by turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from rmft_verl.bridge.training.action_line import reply_spans
from rmft_verl.types import CreditedTrajectory


def comparable(plays: Sequence[CreditedTrajectory]) -> list[CreditedTrajectory]:
    """The plays whose scenario has another one. verl takes the bare credit of a lone play for its advantage."""
    count = Counter(play.trajectory.scenario.id for play in plays)
    return [play for play in plays if count[play.trajectory.scenario.id] > 1]


def turn_advantages(plays: Sequence[CreditedTrajectory], by_std: bool) -> list[np.ndarray]:
    """Advantage of each turn of each play, shape (T,): verl's GRPO with one row a turn, where the t-th turns of the
    plays of a scenario are compared with one another. ``by_std``: in units of their standard deviation.
    """
    credits = [credit for play in plays for credit in play.credit_T]
    index = [f"{play.trajectory.scenario.id}/{t}" for play in plays for t in range(len(play.credit_T))]
    # In float64: in float32 equal credits differ from their mean by enough to have an advantage.
    rewards = torch.tensor(np.array(credits), dtype=torch.float64)[:, None]
    advantages, _ = compute_grpo_outcome_advantage(
        rewards, torch.ones_like(rewards), np.array(index, dtype=object), norm_adv_by_std_in_grpo=by_std
    )
    ends = np.cumsum([len(play.credit_T) for play in plays])
    return np.split(advantages[:, 0].numpy(), ends[:-1])


def token_advantages(play: CreditedTrajectory, advantage_T: np.ndarray) -> list[np.ndarray]:
    """Of each sample of the play, shape (N,): the tokens of the t-th reply have turn t's, all others 0.

    ``ValueError`` if the play has not one reply a turn.
    """
    spans = [(i, span) for i, tokens in enumerate(play.trajectory.tokens) for span in reply_spans(tokens)]
    if len(spans) != len(advantage_T):
        raise ValueError(f"{len(spans)} sampled replies and {len(advantage_T)} turns: which is which?")
    rows = [np.zeros(len(tokens.ids_N)) for tokens in play.trajectory.tokens]
    for (i, (start, end)), advantage in zip(spans, advantage_T, strict=True):
        rows[i][start:end] = advantage
    return rows
