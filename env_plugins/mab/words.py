"""The sentences around a domain's story: the law of rewards and the form of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from env_plugins.contexts import Context, shown
from env_plugins.mab.laws import reward_scale

ANSWERS = {
    "free": "Think freely, then end your reply with a last line\nAction: NAME\nwhere NAME is one of the names above.",
    "action_only": "Reply with one line and nothing else:\nAction: NAME\nwhere NAME is one of the names above.",
}
"""Answer style -> the instruction for it."""


def law_words(context: Context, game: Mapping[str, Any], drifts: bool = False) -> str:
    """What a reward stands for and how it varies; no player is told the means."""
    fixed, secret = "fixed ", "which you are not told"
    if drifts:
        fixed, secret = "", "which you are not told and which may change over time"
    if game["law"] == "bernoulli":
        return f"{context.binary} Every {context.option} has its own {fixed}chance of a 1, {secret}."
    deviation = f"{reward_scale(game) * context.scale:g}" + (f" {context.unit}" if context.unit else "")
    if game["law"] == "bounded":
        return (
            f"Each result lies between {shown(context, 0.0)} and {shown(context, 1.0)}. Every {context.option} has its "
            f"own {fixed}average, {secret}; results vary around it with a standard deviation of at most {deviation}."
        )
    rare = ", and now and then one lies very far from it" if game["law"] == "heavy_tailed" else ""
    return (
        f"{context.graded} Every {context.option} has its own {fixed}average, {secret}; results vary around it with "
        f"standard deviation {deviation}{rare}."
    )
