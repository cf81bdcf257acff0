"""The verbal domains that the environments share, and their splits."""

from __future__ import annotations

from env_plugins.contexts.basic import BASIC, BASIC_HELD_OUT
from env_plugins.contexts.context import NAME_SPLITS, Context, action_names, shown
from env_plugins.contexts.heldout import HELD_OUT
from env_plugins.contexts.train import TRAIN
from env_plugins.contexts.validation import VALIDATION

SPLITS: dict[str, tuple[Context, ...]] = {
    "basic": BASIC,
    "basic_heldout": BASIC_HELD_OUT,
    "train": BASIC + TRAIN,
    "validation": VALIDATION,
    "heldout": BASIC_HELD_OUT + HELD_OUT,
}
"""Name of a split -> its domains. Each domain is in exactly one of ``train``, ``validation`` and ``heldout``."""

CONTEXTS = {context.key: context for split in SPLITS.values() for context in split}
"""Every context by its key."""

__all__ = ["CONTEXTS", "NAME_SPLITS", "SPLITS", "Context", "action_names", "shown"]
