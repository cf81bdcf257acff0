"""Bandits whose means drift, abruptly, gradually or with the seasons, told in words."""

from __future__ import annotations

from env_plugins.nsmab.env import DriftingBanditEnv
from env_plugins.nsmab.generator import DriftGenerator

__all__ = ["DriftGenerator", "DriftingBanditEnv"]
