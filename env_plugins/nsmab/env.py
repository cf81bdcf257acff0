"""A bandit whose means drift, told in the words of ``mab``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from env_plugins.mab import BanditEnv
from env_plugins.mab.words import law_words
from env_plugins.nsmab.generator import DriftGenerator
from env_plugins.nsmab.suites import SUITES

HINTS = {
    "abrupt": "From time to time, without notice, what every {option} brings on average changes at once.",
    "gradual": "What every {option} brings on average moves a little in every round.",
    "seasonal": "What every {option} brings on average rises and falls in regular waves.",
    "stationary": "What every {option} brings on average stays the same in this game.",
}
"""Kind of drift -> the hint that suggestive framing adds."""


class DriftingBanditEnv(BanditEnv):
    """K arms whose means follow ``game["means"]``, shape (T, K); only the reward of the chosen arm is revealed."""

    name: ClassVar[str] = "nsmab"
    Generator: ClassVar[type] = DriftGenerator
    SUITES: ClassVar[Mapping[str, Mapping[str, Any]]] = SUITES
    REGRET: ClassVar[str] = "dynamic"

    def _law(self) -> str:
        return law_words(self._context, self._game, drifts=True)

    def _hint(self) -> str:
        return f"{self._context.hint} {HINTS[self._game['drift']].format(option=self._context.option)}"
