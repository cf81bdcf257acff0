"""Players of games that reveal all rewards, on numbers written out here."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from rmft_verl.players import FULL_INFORMATION, make_player
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.types import Action, GameSpec, Observation, Oracle

REVEALED = GameSpec(n_actions=3, horizon=50, reward_law="bounded", reward_scale=0.5, full_information=True)


def policy(name: str, spec: GameSpec, rewards_T_A: Sequence[Sequence[float]]) -> Action | None:
    """What a full-information player does after these rewards."""

    async def listen() -> Action | None:
        player = make_player(name, np.random.default_rng(0))
        reply = await player.act(Observation((), spec, 0))
        for turn, rewards_A in enumerate(rewards_T_A, start=1):
            reply = await player.act(Observation((), spec, turn, reply.action, np.array(rewards_A)))
        return reply.action

    return asyncio.run(listen())


@pytest.mark.parametrize("name", ["uniform", "ftl", "hedge", "ftrl_l2"])
def test_full_information_play_begins_in_the_center(name: str) -> None:
    assert policy(name, REVEALED, []) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-12)


def test_ftl_follows_the_leaders() -> None:
    assert policy("ftl", REVEALED, [(0.2, 0.9, 0.1), (0.6, 0.0, 0.1)]) == (0, 1, 0)  # 0.8, 0.9, 0.2
    # 0.1 + 0.2 and 0.3 are equal, though their floats are not.
    assert policy("ftl", REVEALED, [(0.1, 0.3, 0.0), (0.2, 0.0, 0.1)]) == (0.5, 0.5, 0)


def test_hedge_weighs_exponentially() -> None:
    # rate sqrt(8 log 3 / 50) = 0.41926; weights exp(rate 2), exp(rate 1), 1 = 2.3129, 1.5208, 1.
    played = policy("hedge", REVEALED, [(1, 0.5, 0), (1, 0.5, 0)])
    assert played == pytest.approx((0.47848, 0.31462, 0.20688), abs=1e-4)


def test_ftrl_l2_projects() -> None:
    # rate (2/3) sqrt(2/50) = 0.13333; the sums 4, 1, 0 give 0.5333, 0.1333, 0, which sum to 2/3: 1/9 is added to each.
    assert policy("ftrl_l2", REVEALED, [(1, 0.25, 0)] * 4) == pytest.approx((0.64444, 0.24444, 0.11111), abs=1e-5)


def test_ftpl_plays_the_chance_to_lead_under_noise() -> None:
    # Noise sqrt(50) / 2 = 3.536 on each; two actions: Phi(3 / (3.536 sqrt(2))) = Phi(0.6) = 0.7257.
    two = dataclasses.replace(REVEALED, n_actions=2)
    assert policy("ftpl", two, [(1, 0)] * 3) == pytest.approx((0.7257, 0.2743), abs=0.06)


@pytest.mark.parametrize("name", [*FULL_INFORMATION])
def test_full_information_players_refuse_bandits(name: str) -> None:
    with pytest.raises(ValueError, match="needs the rewards of all actions; the game is a bandit"):
        policy(name, dataclasses.replace(REVEALED, full_information=False), [])


def test_the_oracle_of_external_regret_plays_the_best_fixed_action() -> None:
    truth = np.array([[0.1, 0.9, 0.0], [0.8, 0.0, 0.0], [0.8, 0.4, 0.0]])  # sums 1.7, 1.3, 0
    oracle = OraclePlayer(Oracle(truth, "external"))
    assert [asyncio.run(oracle.act(Observation((), REVEALED, t))).action for t in range(3)] == [(1, 0, 0)] * 3
