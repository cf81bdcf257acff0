"""LinUCB and linear Thompson sampling beside normal equations solved here, and beside MABWiser."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy

from rmft_verl.env.play import Player
from rmft_verl.env.ridge import RidgeArms
from rmft_verl.players import CONTEXTUAL, can_play, make_player
from rmft_verl.types import GameSpec, Observation

SPEC = GameSpec(4, 300, "gaussian", 0.3, n_features=3)
CONTEXTS_T_F = np.random.default_rng(1).standard_normal((300, 3))
WEIGHTS_A_F = np.random.default_rng(2).standard_normal((4, 3))
REWARDS_T_A = CONTEXTS_T_F @ WEIGHTS_A_F.T + 0.3 * np.random.default_rng(3).standard_normal((300, 4))


def plays(player: Player) -> list[int]:
    """The arms that a player pulls in the game above."""

    async def all_rounds() -> list[int]:
        arms: list[int] = []
        observation = Observation((), SPEC, 0, context_F=CONTEXTS_T_F[0])
        for turn in range(SPEC.horizon):
            arm = (await player.act(observation)).action
            assert type(arm) is int
            arms.append(arm)
            if turn + 1 < SPEC.horizon:
                feedback_A = np.where(np.arange(4) == arm, REWARDS_T_A[turn], np.nan)
                observation = Observation((), SPEC, turn + 1, arm, feedback_A, context_F=CONTEXTS_T_F[turn + 1])
        return arms

    return asyncio.run(all_rounds())


def normal_equations(turn: int, arms: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """theta_a' x and sqrt(x' V_a^-1 x) of every arm, solved anew from all earlier rounds."""
    played, x_F, means, widths = np.array(arms[:turn], dtype=int), CONTEXTS_T_F[turn], [], []
    for arm in range(4):
        rounds = np.flatnonzero(played == arm)
        X, y = CONTEXTS_T_F[rounds], REWARDS_T_A[rounds, arm]
        V = np.eye(3) + X.T @ X
        means.append(x_F @ np.linalg.solve(V, X.T @ y))
        widths.append(np.sqrt(x_F @ np.linalg.solve(V, x_F)))
    return np.array(means), np.array(widths)


def test_linucb_plays_what_the_normal_equations_say() -> None:
    arms = plays(make_player("linucb", np.random.default_rng(0)))
    for turn, arm in enumerate(arms):
        means_A, widths_A = normal_equations(turn, arms)
        bounds_A = means_A + 0.6 * widths_A
        best = np.flatnonzero(bounds_A > bounds_A.max() - 1e-9)
        assert arm in best and (len(best) == 1 or not set(best) & set(arms[:turn]))  # only untried arms tie
    assert np.bincount(arms).min() >= 10


def test_linucb_chooses_what_mabwiser_chooses() -> None:
    arms = plays(make_player("linucb", np.random.default_rng(0)))
    theirs = MAB([0, 1, 2, 3], LearningPolicy.LinUCB(alpha=0.6, l2_lambda=1.0))
    tried = max(arms.index(arm) for arm in range(4)) + 1  # until then ties are ours to break
    theirs.fit(arms[:tried], REWARDS_T_A[np.arange(tried), arms[:tried]], CONTEXTS_T_F[:tried])
    for turn in range(tried, 300):
        assert theirs.predict(CONTEXTS_T_F[turn : turn + 1]) == arms[turn]
        theirs.partial_fit([arms[turn]], [REWARDS_T_A[turn, arms[turn]]], CONTEXTS_T_F[turn : turn + 1])


def test_linear_thompson_draws_from_the_posterior_of_the_normal_equations() -> None:
    arms = plays(make_player("linear_thompson", np.random.default_rng(7)))
    noise_T_A = np.random.default_rng(7).standard_normal((300, 4))
    drawn_T_A = [
        means_A + 0.3 * widths_A * noise_A
        for (means_A, widths_A), noise_A in zip((normal_equations(t, arms) for t in range(300)), noise_T_A, strict=True)
    ]
    assert arms == [int(draws_A.argmax()) for draws_A in drawn_T_A]
    assert plays(make_player("linear_thompson", np.random.default_rng(8))) != arms


def test_a_draw_of_the_mean_is_a_draw_of_the_weights() -> None:
    """Drawing x' theta from its normal law is drawing theta from N(V^-1 b, sd^2 V^-1)."""
    arms = RidgeArms(1, 3)
    for turn in range(5):
        arms.add(0, CONTEXTS_T_F[turn], float(REWARDS_T_A[turn, 0]))
    x_F = CONTEXTS_T_F[9]
    thetas = np.random.default_rng(0).multivariate_normal(arms.weights_A_F[0], arms.inverse_A_F_F[0], 200_000)
    values = thetas @ x_F
    assert values.mean() == pytest.approx(arms.means_A(x_F)[0], abs=5 * values.std() / 200_000**0.5)
    assert values.std() == pytest.approx(arms.widths_A(x_F)[0], rel=0.01)


def test_the_ridge_is_the_identity_times_its_weight() -> None:
    arms = RidgeArms(2, 2, ridge=4.0)
    arms.add(1, np.array([2.0, 0.0]), 3.0)
    # Arm 1: V = diag(8, 4), b = (6, 0). Arm 0: V = diag(4, 4), b = 0.
    assert arms.means_A(np.array([1.0, 1.0])) == pytest.approx([0.0, 0.75])
    assert arms.widths_A(np.array([1.0, 1.0])) == pytest.approx([np.sqrt(1 / 2), np.sqrt(1 / 8 + 1 / 4)])


@pytest.mark.parametrize("name", sorted(CONTEXTUAL))
def test_the_first_arm_is_random_and_a_game_without_contexts_is_refused(name: str) -> None:
    def first(seed: int) -> object:
        observation = Observation((), SPEC, 0, context_F=CONTEXTS_T_F[0])
        return asyncio.run(make_player(name, np.random.default_rng(seed)).act(observation)).action

    counts = np.bincount([int(str(first(seed))) for seed in range(400)], minlength=4)
    assert (abs(counts / 400 - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5).all()
    assert can_play(name, SPEC) and not can_play(name, GameSpec(4, 300, "gaussian"))
    with pytest.raises(ValueError, match=r"reads contexts of bandits; the game shows none"):
        asyncio.run(make_player(name, np.random.default_rng(0)).act(Observation((), GameSpec(4, 9, "gaussian"), 0)))
