"""Stochastic multi-armed bandits with four reward laws, told in words."""

from __future__ import annotations

from env_plugins.mab.env import BanditEnv
from env_plugins.mab.generator import BanditGenerator

__all__ = ["BanditEnv", "BanditGenerator"]
