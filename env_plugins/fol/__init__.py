"""Full-information online learning, told in words."""

from __future__ import annotations

from env_plugins.fol.env import FullInformationEnv
from env_plugins.fol.generator import FullInformationGenerator

__all__ = ["FullInformationEnv", "FullInformationGenerator"]
