"""The verbal domains that the environments share, and their splits."""

from __future__ import annotations

from env_plugins.contexts.basic import BASIC, BASIC_HELD_OUT
from env_plugins.contexts.context import Context

SPLITS: dict[str, tuple[Context, ...]] = {
    "basic": BASIC,
    "basic_heldout": BASIC_HELD_OUT,
    "train": BASIC,
    "heldout": BASIC_HELD_OUT,
}
"""Name of a split -> its domains. No domain is in both a training and a held-out split."""

CONTEXTS = {context.key: context for split in SPLITS.values() for context in split}
"""Every context by its key."""

__all__ = ["CONTEXTS", "SPLITS", "Context"]
