"""Several environments in one set of scenarios."""

from __future__ import annotations

from env_plugins.mixed.env import MixedEnv, MixedGenerator

__all__ = ["MixedEnv", "MixedGenerator"]
