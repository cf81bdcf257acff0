"""Posterior regret of contextual bandits against conjugate posteriors and integrals worked out here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest

from env_plugins.cb import ContextGenerator, ContextualBanditEnv
from rmft_verl.algo import linear
from rmft_verl.algo.linear import LinearPrior, expected_max, prior_of, score
from rmft_verl.algo.scores import Scorer
from rmft_verl.config import ConfigError
from rmft_verl.env.play import play_now
from rmft_verl.eval.algorithms import evaluate_players
from rmft_verl.players.scripted import Scripted
from rmft_verl.setup.env_checks import check_prior, check_truth_of_prior
from rmft_verl.types import Action, Oracle, Scenario, Trajectory

UNIT = NormalDist()
GENERATOR = ContextGenerator(arms=[2], features=[2], horizon=[6], noise=0.4)
SCENARIO = GENERATOR.draw(np.random.default_rng(5))


def played(actions: Sequence[Action], scenario: Scenario = SCENARIO) -> Trajectory:
    return play_now(ContextualBanditEnv, Scripted(actions), scenario, reward_seed=3, policy_seed=0)


def conjugate(trajectory: Trajectory, turn: int, arm: int, scale: float, noise: float) -> tuple[float, float]:
    """Mean and deviation of w_arm' x before ``turn``, from the normal posterior of the weights."""
    contexts_T_F = np.array(trajectory.scenario.game["contexts"])
    rounds = [t for t in range(turn) if trajectory.actions_T[t] == arm]
    X = contexts_T_F[rounds]
    y = np.array([trajectory.turns[t].reward for t in rounds], dtype=float)
    covariance = np.linalg.inv(np.eye(X.shape[1]) / scale**2 + X.T @ X / noise**2)
    mean, x_F = covariance @ X.T @ y / noise**2, contexts_T_F[min(turn, len(contexts_T_F) - 1)]
    return float(x_F @ mean), float(np.sqrt(x_F @ covariance @ x_F))


def better_of_two(first: tuple[float, float], second: tuple[float, float]) -> float:
    """E[max] of two independent normals in closed form (Clark 1961)."""
    spread = (first[1] ** 2 + second[1] ** 2) ** 0.5
    apart = (first[0] - second[0]) / spread
    return first[0] * UNIT.cdf(apart) + second[0] * UNIT.cdf(-apart) + spread * UNIT.pdf(apart)


def test_two_arms_have_the_closed_form() -> None:
    actions = (0, 1, 1, 0, 0, 1)
    trajectory = played(actions)
    expected = 0.0
    for turn, action in enumerate(actions):
        beliefs = [conjugate(trajectory, turn, arm, 1.0, 0.4) for arm in range(2)]
        expected += better_of_two(*beliefs) - beliefs[action][0]
    prior = prior_of(GENERATOR, SCENARIO)
    assert isinstance(prior, LinearPrior)
    assert score(trajectory, prior) == pytest.approx(expected, abs=1e-10)


def test_the_prior_scale_and_unplayed_rounds_enter() -> None:
    trajectory = played((0, 1))  # the context was full after two replies
    prior = LinearPrior("linear", SCENARIO.game["contexts"], scale=2.0, noise=0.4)
    beliefs_T = [[conjugate(trajectory, t, arm, 2.0, 0.4) for arm in range(2)] for t in range(6)]
    means = [pair[arm][0] for pair, arm in zip(beliefs_T, (0, 1), strict=False)]
    means += [(one[0] + two[0]) / 2 for one, two in beliefs_T[2:]]
    expected = sum(better_of_two(*pair) for pair in beliefs_T) - sum(means)
    assert score(trajectory, prior) == pytest.approx(expected, abs=1e-10)


def test_the_continuation_is_the_doubt_left_over_the_contexts_of_the_game() -> None:
    trajectory = played((0, 1, 1, 0, 0, 1))
    prior = prior_of(GENERATOR, SCENARIO)
    assert isinstance(prior, LinearPrior)
    contexts = SCENARIO.game["contexts"]
    doubts = []
    for context in contexts:
        ended = dataclasses.replace(
            trajectory, scenario=dataclasses.replace(SCENARIO, game=SCENARIO.game | {"contexts": [*contexts, context]})
        )
        pair = [conjugate(ended, 6, arm, 1.0, 0.4) for arm in range(2)]
        doubts.append(better_of_two(*pair) - max(pair[0][0], pair[1][0]))
    more, less = score(trajectory, prior, 9.0), score(trajectory, prior)
    assert more is not None and less is not None
    assert more - less == pytest.approx(9.0 * sum(doubts) / 6, abs=1e-9)
    assert Scorer("posterior", GENERATOR, 1.5).further * 6 == 9.0


def test_the_scorer_takes_it_and_a_failed_episode_has_none() -> None:
    trajectory = dataclasses.replace(played((0, 1, 1, 0, 0, 1)), regret=1.0)
    prior = prior_of(GENERATOR, SCENARIO)
    assert isinstance(prior, LinearPrior)
    (scored,) = Scorer("posterior", GENERATOR)([trajectory], np.random.default_rng(0))
    assert scored.score == pytest.approx(score(trajectory, prior), abs=1e-8)
    assert score(dataclasses.replace(trajectory, oracle=Oracle(np.full((6, 2), np.nan), "none")), prior) is None


@pytest.mark.parametrize("arms", [1, 2, 5, 20])
def test_the_expected_best_of_many_is_that_of_draws_and_of_a_finer_grid(
    arms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(arms)
    means_A, deviations_A = rng.normal(size=arms), rng.uniform(0.02, 1, arms)
    value = expected_max(means_A, deviations_A)
    draws = (means_A + deviations_A * rng.standard_normal((200_000, arms))).max(axis=1)
    assert value == pytest.approx(draws.mean(), abs=5 * draws.std() / 200_000**0.5)
    monkeypatch.setattr(linear, "STEP", 0.1)
    assert value == pytest.approx(expected_max(means_A, deviations_A), abs=1e-12)


def test_arms_without_doubt_are_known() -> None:
    assert expected_max(np.array([1.0, 3.0]), np.zeros(2)) == 3.0
    assert expected_max(np.array([0.0, 9.0]), np.array([1.0, 0.0])) == pytest.approx(9.0, abs=1e-9)


@pytest.mark.parametrize("player", ["uniform", "linucb"])
def test_it_has_the_mean_of_the_true_regret_and_less_spread(player: str) -> None:
    generator = ContextGenerator(arms=[3], horizon=[15])
    scenarios = [generator.draw(np.random.default_rng([9, seed])) for seed in range(500)]
    plays = evaluate_players(ContextualBanditEnv, [player], scenarios, 1, 0)[player]
    prior_T = [prior_of(generator, scenario) for scenario in scenarios]
    scores = np.array([score(one, prior) for one, prior in zip(plays, prior_T, strict=True)])  # type: ignore[arg-type]
    regrets = np.array([one.regret for one in plays])
    gap = scores - regrets
    assert abs(gap.mean()) < 4 * gap.std() / 500**0.5
    assert scores.std() < 0.9 * regrets.std()


def test_a_prior_that_does_not_fit_is_refused() -> None:
    user_item = ContextGenerator(kind="user_item").draw(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="kind='user_item': posterior regret needs kind=linear"):
        check_prior("cb", ContextGenerator(kind="user_item"), [user_item])
    check_prior("cb", GENERATOR, [SCENARIO])
    truth = played((0, 1, 1, 0, 0, 1)).oracle
    check_truth_of_prior("cb", GENERATOR, [(SCENARIO, truth)])
    bent = Oracle(truth.expected_T_A + np.arange(6)[:, None] ** 2, "contextual")
    with pytest.raises(ConfigError, match="means linear in the contexts, and those of a game are"):
        check_truth_of_prior("cb", GENERATOR, [(SCENARIO, bent)])
    with pytest.raises(ValueError, match=r"noise=0: a linear prior needs"):
        LinearPrior("linear", [[1.0]], 1.0, 0)
