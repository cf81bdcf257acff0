"""The sentences that tell a context and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from env_plugins.contexts import Context
from env_plugins.mab.laws import reward_scale


def linear_words(context: Context, game: Mapping[str, Any], n_features: int) -> str:
    """What a reward stands for and how it follows from a round's case; no player is told the weights."""
    deviation = f"{reward_scale(game) * context.scale:g}" + (f" {context.unit}" if context.unit else "")
    numbers = "one number" if n_features == 1 else f"{n_features} numbers"
    return (
        f"{context.graded} Each round is another case, described by {numbers} that you are told before you choose. "
        f"Every {context.option} has its own fixed weight for each of them, which you are not told, and its average in "
        f"a case is the sum of weight times number; results vary around it with standard deviation {deviation}."
    )


def case(context_F: np.ndarray) -> str:
    """The sentence that tells the context of a round, with the two decimals that it has."""
    return f"The case: {', '.join(f'{value:.2f}' for value in context_F.tolist())}."
