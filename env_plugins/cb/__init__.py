"""Contextual bandits: what an arm pays on average depends on features that every round shows."""

from __future__ import annotations

from env_plugins.cb.env import ContextualBanditEnv
from env_plugins.cb.generator import ContextGenerator

__all__ = ["ContextGenerator", "ContextualBanditEnv"]
