"""Players and environments draw from the generators they are given, and from nothing else."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from env_plugins.cb import ContextualBanditEnv
from env_plugins.fol import FullInformationEnv
from env_plugins.mab import BanditEnv
from rmft_verl.env import Env
from rmft_verl.env.play import play_now
from rmft_verl.players import CONTEXTUAL, FULL_INFORMATION, PLAYERS, can_play, make_player
from rmft_verl.types import GameSpec, StopReason, Trajectory

REVEALED = GameSpec(n_actions=3, horizon=50, reward_law="bounded", reward_scale=0.5, full_information=True)


def one_play(name: str, full_information: bool) -> Trajectory:
    """One episode of a real environment."""
    bandit: type[Env] = ContextualBanditEnv if name in CONTEXTUAL else BanditEnv
    env_class: type[Env] = FullInformationEnv if full_information else bandit
    scenario = env_class.Generator(contexts="train").draw(np.random.default_rng(5))
    return play_now(env_class, make_player(name, np.random.default_rng(2)), scenario, reward_seed=1, policy_seed=2)


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_same_seed_same_bytes(name: str) -> None:
    for full_information in (False, True):
        spec = dataclasses.replace(REVEALED, full_information=full_information, n_features=2)
        if can_play(name, spec):
            plays = [one_play(name, full_information) for _ in range(2)]
            assert [play.stop_reason for play in plays] == [StopReason.COMPLETED] * 2
            assert repr(plays[0].turns).encode() == repr(plays[1].turns).encode()
            assert plays[0].oracle.expected_T_A.tobytes() == plays[1].oracle.expected_T_A.tobytes()


def test_nobody_draws_from_the_generators_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("global randomness")

    seeded = np.random.default_rng
    for module, owner in ((np.random, np.random.mtrand._rand), (random, random._inst)):
        drawing = [name for name in dir(module) if getattr(getattr(module, name), "__self__", None) is owner]
        assert len(drawing) > 15
        for name in drawing:
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(np.random, "default_rng", lambda seed=None: refuse() if seed is None else seeded(seed))
    for name in PLAYERS:
        assert one_play(name, full_information=name in FULL_INFORMATION).error == ""
    assert one_play("uniform", full_information=True).error == ""
