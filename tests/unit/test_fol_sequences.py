"""Reward sequences by their numbers, and Hedge against follow-the-leader on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from env_plugins.fol import FullInformationEnv
from env_plugins.fol.adaptive import Adversary, MatrixGame, hedge_rate, hurt
from env_plugins.fol.games import NAMES, draw_game
from env_plugins.fol.sequences import SEQUENCES, Dials, tempting
from rmft_verl.env.regret import external_regret
from rmft_verl.types import Scenario

Strategy = Callable[[np.ndarray, int], np.ndarray]
"""(rewards revealed so far, shape (t, A), horizon) -> policy, shape (A,)."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sequence(name: str, horizon: int, n_actions: int, seed: int = 0, **dials: float) -> np.ndarray:
    return SEQUENCES[name](rng(seed), horizon, n_actions, Dials(**dials))


def hedge(revealed_T_A: np.ndarray, horizon: int) -> np.ndarray:
    sums_A = revealed_T_A.sum(axis=0)
    weights_A = np.exp(np.sqrt(8 * np.log(len(sums_A)) / horizon) * (sums_A - sums_A.max()))
    return np.asarray(weights_A / weights_A.sum())


def follow_the_leader(revealed_T_A: np.ndarray, horizon: int) -> np.ndarray:
    sums_A = revealed_T_A.sum(axis=0)
    return np.asarray(np.arange(len(sums_A)) == sums_A.argmax(), dtype=float)


def regret(game: dict[str, Any], horizon: int, n_actions: int, strategy: Strategy, seed: int = 0) -> float:
    """External regret of one play."""
    scenario = Scenario("fol", horizon, tuple(f"a{i}" for i in range(n_actions)), "buttons", game)
    env, revealed, actions = FullInformationEnv(scenario, seed), [np.zeros(n_actions)], []
    for _ in range(horizon):
        actions.append(tuple(strategy(np.array(revealed), horizon).tolist()))
        observation = env.step(actions[-1]).observation
        revealed += [] if observation is None else [np.asarray(observation.feedback_A)]
    return float(external_regret(env.oracle().expected_T_A, actions)[-1])


# ---- sequences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(("horizon", "n_actions"), [(1, 2), (2, 3), (25, 2), (60, 20)])
@pytest.mark.parametrize("dials", [{}, {"noise": 0.0, "gap": 0.0}, {"noise": 1.0, "gap": 0.99}])
def test_every_sequence_is_what_is_told(name: str, horizon: int, n_actions: int, dials: dict[str, float]) -> None:
    for seed in range(5):
        rewards_T_A = sequence(name, horizon, n_actions, seed, **dials)
        assert rewards_T_A.shape == (horizon, n_actions)
        assert rewards_T_A.min() >= 0 and rewards_T_A.max() <= 1
        assert np.array_equal(rewards_T_A, np.round(rewards_T_A, 2)) and not np.signbit(rewards_T_A).any()
        assert rewards_T_A.tobytes() == sequence(name, horizon, n_actions, seed, **dials).tobytes()


def test_uniform() -> None:
    rewards_T_A = sequence("uniform", 20_000, 3)
    assert rewards_T_A.mean(axis=0) == pytest.approx([0.5] * 3, abs=0.01)
    assert rewards_T_A.std(axis=0) == pytest.approx([12**-0.5] * 3, abs=0.01)


def test_uniform_gap() -> None:
    means_A = np.sort(sequence("uniform_gap", 20_000, 4, gap=0.3).mean(axis=0))
    assert means_A == pytest.approx([0.35, 0.35, 0.35, 0.65], abs=0.01)
    assert {int(sequence("uniform_gap", 500, 4, seed, gap=0.3).mean(axis=0).argmax()) for seed in range(40)} == set(
        range(4)
    )


def test_gaussian() -> None:
    rewards_T_A = sequence("gaussian", 20_000, 3, noise=0.1)
    assert rewards_T_A.mean(axis=0) == pytest.approx([0.5] * 3, abs=0.01)
    assert rewards_T_A.std(axis=0) == pytest.approx([0.1] * 3, abs=0.005)
    # Truncated at 2.5 times its own deviation: 0.2 * sqrt(1 - 5 phi(2.5) / (2 Phi(2.5) - 1)) = 0.1910.
    assert sequence("gaussian", 20_000, 3, noise=0.2).std() == pytest.approx(0.191, abs=0.003)


def test_gaussian_gap() -> None:
    rewards_T_A = sequence("gaussian_gap", 20_000, 3, noise=0.1, gap=0.2)
    assert np.sort(rewards_T_A.mean(axis=0)) == pytest.approx([0.4, 0.4, 0.6], abs=0.01)


def test_linear() -> None:
    still_T_A = sequence("linear", 50, 4, noise=0.0)
    assert np.abs(np.diff(still_T_A, n=2, axis=0)).max() <= 0.02 + 1e-9  # rounding alone bends the lines
    assert len(set((still_T_A[-1] - still_T_A[0]).tolist())) == 4
    ends = np.array([sequence("linear", 2, 4, seed, noise=0.0) for seed in range(500)])
    assert ends.mean(axis=(0, 2)) == pytest.approx([0.5, 0.5], abs=0.03)
    assert ends.std(axis=(0, 2)) == pytest.approx([12**-0.5] * 2, abs=0.02)
    noisy_T_A = sequence("linear", 5000, 4, noise=0.05)
    assert np.diff(noisy_T_A, axis=0).std() == pytest.approx(0.05 * 2**0.5, abs=0.005)


def test_sine() -> None:
    for seed in range(20):
        waves_T_A = sequence("sine", 400, 2, seed, noise=0.0)
        assert waves_T_A.min() >= 0.1 and waves_T_A.max() <= 0.9 and waves_T_A.max() - waves_T_A.min() > 0.6
        assert np.abs(np.diff(waves_T_A, axis=0)).max() <= 0.4 * 2 * np.pi / 100 + 0.011  # a period of T / 4 at least
        turns_A = (np.diff(np.sign(waves_T_A - 0.4999), axis=0) != 0).sum(axis=0)
        assert (turns_A >= 1).all() and (turns_A <= 9).all()  # 1 to 4 periods cross the middle twice each
        assert not np.array_equal(waves_T_A[:, 0], waves_T_A[:, 1])


def test_alternating() -> None:
    still_T_A = sequence("alternating", 5, 2, noise=0.0)
    assert sorted(still_T_A.T.tolist()) == [[0.25, 1.0, 0.0, 1.0, 0.0], [0.75, 0.0, 1.0, 0.0, 1.0]]
    for seed in range(20):
        sums_T_A = np.cumsum(sequence("alternating", 100, 5, seed, noise=0.1), axis=0)
        lead_T_A = sums_T_A - 0.5 * np.arange(1, 101)[:, None]
        assert np.abs(lead_T_A).max() <= 0.25 + 1e-9 and np.abs(lead_T_A).min() >= 0.1 - 1e-9
        assert (np.sign(lead_T_A[1:]) == -np.sign(lead_T_A[:-1])).all()
        assert sorted((lead_T_A[0] > 0).tolist()) == [False, False, False, True, True]


def test_switch() -> None:
    counts = []
    for seed in range(60):
        still_T_A = sequence("switch", 30, 3, seed, noise=0.0, gap=0.4)
        assert np.array_equal(np.sort(still_T_A, axis=1), np.tile([0.3, 0.3, 0.7], (30, 1)))
        counts.append(int((np.diff(still_T_A.argmax(axis=1)) != 0).sum()))
    assert set(counts) == {1, 2, 3}
    noisy_T_A = sequence("switch", 30, 3, 0, noise=0.05, gap=0.4)
    assert noisy_T_A.std() > still_T_A.std() * 0.9 and len(np.unique(noisy_T_A)) > 10


# ---- sequences that answer the player -------------------------------------------------------------------------------


def test_hurt() -> None:
    rewards_A = np.array([0.9, 0.8, 0.7])
    assert hurt(rewards_A, np.array([0.2, 0.5, 0.3]), np.array([0.9, 0.1, 0.5])).tolist() == [0.9, 0.0, 0.7]
    assert hurt(rewards_A, np.array([0.4, 0.2, 0.4 - 1e-12]), np.array([0.1, 0.9, 0.5])).tolist() == [0.9, 0.8, 0.0]
    batch = hurt(np.stack([rewards_A] * 2), np.array([[1, 0, 0], [0, 0, 1.0]]), np.zeros((2, 3)))
    assert batch.tolist() == [[0.0, 0.8, 0.7], [0.9, 0.8, 0.0]]


def test_adversary_breaks_ties_by_its_seed_and_by_nothing_else() -> None:
    tempting_T_A = tempting(rng(), 3000, 3, Dials())
    assert tempting_T_A.min() >= 0.5 and tempting_T_A.mean() == pytest.approx(0.75, abs=0.01)

    def victims(seed: int, policy: list[float]) -> list[int]:
        adversary = Adversary(tempting_T_A, rng(seed))
        return [int((adversary.reveal(np.array(policy)) == 0).argmax()) for _ in range(3000)]

    even = victims(0, [1 / 3, 1 / 3, 1 / 3])
    assert np.bincount(even) == pytest.approx([1000] * 3, abs=100)  # standard deviation 26
    assert even == victims(0, [1 / 3, 1 / 3, 1 / 3]) != victims(1, [1 / 3, 1 / 3, 1 / 3])
    assert set(victims(0, [0.4, 0.4, 0.2])) == {0, 1} and set(victims(5, [0.3, 0.3, 0.4])) == {2}


def test_matrix_game_answers_after_the_round() -> None:
    game = MatrixGame(np.eye(2), 1 - np.eye(2), rate=float(np.log(3)))
    assert game.reveal(np.array([1.0, 0.0])).tolist() == [0.5, 0.5]  # the opponent starts evenly
    # It would have earned (0, 1): weights 1 and 3.
    assert game.reveal(np.array([0.0, 1.0])).tolist() == [0.25, 0.75]
    assert game.reveal(np.array([0.0, 1.0])).tolist() == [0.5, 0.5]
    assert game.reveal(np.array([0.5, 0.5])).tolist() == [0.75, 0.25]


def test_matrix_games_are_zero_sum_or_independent() -> None:
    games = [draw_game("matrix_game", rng(seed), 50, 3, Dials()) for seed in range(40)]
    zero_sum = [np.allclose(np.array(game["payoff"]) + np.array(game["opponent"]), 1) for game in games]
    assert 10 <= sum(zero_sum) <= 30
    assert games[0]["rate"] == hedge_rate(50, 3) == pytest.approx(0.4193, abs=1e-4)  # sqrt(8 ln 3 / 50)


@pytest.mark.parametrize("name", NAMES)
def test_hedge_stays_under_its_bound(name: str) -> None:
    for seed in range(10):
        horizon, n_actions = (50, 2) if seed % 2 else (100, 5)
        game = draw_game(name, rng(seed), horizon, n_actions, Dials())
        assert regret(game, horizon, n_actions, hedge, seed) <= np.sqrt(horizon * np.log(n_actions) / 2)


@pytest.mark.parametrize("n_actions", [2, 3, 5])
def test_follow_the_leader_is_linear_where_hedge_is_not(n_actions: int) -> None:
    leader, careful = [], []
    horizons = (50, 100, 200, 400)
    for horizon in horizons:
        game = draw_game("alternating", rng(horizon), horizon, n_actions, Dials())
        leader.append(regret(game, horizon, n_actions, follow_the_leader) / horizon)
        careful.append(regret(game, horizon, n_actions, hedge) / horizon)
        assert leader[-1] >= 0.2 * (horizon - 1) / horizon - 0.01
        assert careful[-1] <= np.sqrt(np.log(n_actions) / 2 / horizon)
    assert leader == pytest.approx([leader[-1]] * 4, rel=0.1)  # as much a round at T = 400 as at T = 50
    assert careful[-1] < 0.5 * careful[0]


def test_committing_is_linear_against_the_adversary() -> None:
    for seed in range(5):
        game = draw_game("adversary", rng(seed), 200, 4, Dials())
        # It earns nothing; the best action is hurt in at most a quarter of the rounds and pays 0.5 at least.
        assert regret(game, 200, 4, follow_the_leader, seed) >= 0.75 * 0.5 * 200
