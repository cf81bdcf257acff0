"""A bandit whose rounds show a context, told in the words of ``mab``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from env_plugins.cb.generator import ContextGenerator
from env_plugins.cb.suites import SUITES
from env_plugins.cb.words import case, linear_words
from env_plugins.mab import BanditEnv
from rmft_verl.types import GameSpec, Message, Observation, Scenario


class ContextualBanditEnv(BanditEnv):
    """K arms with hidden weights: the mean of arm a in round t is <weights_a, contexts_t>.

    The context of a round is shown before it; only the reward of the chosen arm is revealed.
    """

    name: ClassVar[str] = "cb"
    Generator: ClassVar[type] = ContextGenerator
    SUITES: ClassVar[Mapping[str, Mapping[str, Any]]] = SUITES
    REGRET: ClassVar[str] = "contextual"

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._contexts_T_F = np.array(scenario.game["contexts"], dtype=float)
        super().__init__(scenario, seed)

    def _means(self) -> np.ndarray:
        return np.asarray(self._contexts_T_F @ np.array(self._game["weights"], dtype=float).T)

    def _told(self) -> GameSpec:
        return dataclasses.replace(super()._told(), n_features=self._contexts_T_F.shape[1])

    def _law(self) -> str:
        return linear_words(self._context, self._game, self._contexts_T_F.shape[1])

    def _observe(
        self, report: str, turn: int, arm: int | None = None, feedback_A: np.ndarray | None = None
    ) -> Observation:
        context_F = self._contexts_T_F[turn].copy()
        text = f"{report}\nRound {turn + 1} of {self._horizon}. {case(context_F)}"
        return Observation((Message("user", text),), self._spec, turn, arm, feedback_A, context_F=context_F)
