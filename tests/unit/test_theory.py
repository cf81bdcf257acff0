"""What theory promises of the players."""

from __future__ import annotations

import asyncio
import math
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize
from toy_bandit import ToyBandit, toy_scenario

from env_plugins.fol import FullInformationEnv, FullInformationGenerator
from env_plugins.fol.games import NAMES
from rmft_verl.env import Env
from rmft_verl.env.play import play
from rmft_verl.env.regret import pseudo_regret, score
from rmft_verl.eval.metrics import suffix_failure_frequency
from rmft_verl.players import make_player
from rmft_verl.players.ftrl_l2 import project
from rmft_verl.players.ftrl_l2 import rate as l2_rate
from rmft_verl.players.hedge import rate as hedge_rate
from rmft_verl.types import Action, GameSpec, Observation, Oracle, Scenario, StepResult, Trajectory


class Tape:
    """A game whose rewards are written in the scenario, shape (T, A); a bandit or with full information."""

    name: ClassVar[str] = "tape"
    Generator: ClassVar[type] = object

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._rewards_T_A = np.array(scenario.game["rewards"])
        horizon, n_actions = self._rewards_T_A.shape
        self._spec = GameSpec(n_actions, horizon, "bounded", 0.5, scenario.game["full_information"])
        self._turn = 0

    def reset(self) -> Observation:
        return Observation((), self._spec, 0)

    def parse(self, text: str) -> Action | None:
        return None

    def step(self, action: Action) -> StepResult:
        rewards_A, feedback_A = self._rewards_T_A[self._turn], self._rewards_T_A[self._turn]
        if not isinstance(action, tuple):
            feedback_A = np.where(np.arange(len(rewards_A)) == action, rewards_A, np.nan)
        paid = float(rewards_A @ np.array(action)) if isinstance(action, tuple) else float(rewards_A[action])
        self._turn += 1
        done = self._turn == len(self._rewards_T_A)
        following = None if done else Observation((), self._spec, self._turn, action, feedback_A)
        return StepResult(following, paid, done)

    def oracle(self) -> Oracle:
        return Oracle(self._rewards_T_A, "external")


def plays(env_class: type[Env], name: str, scenario: Scenario, n: int) -> list[Trajectory]:
    """``n`` scored plays, the seeds of each its index."""

    async def all_plays() -> list[Trajectory]:
        return [
            score(await play(env_class(scenario, seed), player, scenario, reward_seed=seed, policy_seed=seed))
            for seed in range(n)
            for player in [make_player(name, np.random.default_rng([seed, 1]))]
        ]

    played = asyncio.run(all_plays())
    assert {trajectory.error for trajectory in played} == {""}
    return played


def tape(rewards_T_A: np.ndarray, full_information: bool) -> Scenario:
    game = {"rewards": rewards_T_A.tolist(), "full_information": full_information}
    return Scenario("tape", len(rewards_T_A), tuple("abcdefghij"[: rewards_T_A.shape[1]]), "plain", game)


def on_tape(name: str, rewards_T_A: np.ndarray) -> Trajectory:
    """One play with full information."""
    return plays(Tape, name, tape(rewards_T_A, True), 1)[0]


def pulls_on_tape(name: str, rewards_T_A: np.ndarray, n: int) -> list[Trajectory]:
    """``n`` plays of a bandit."""
    return plays(Tape, name, tape(rewards_T_A, False), n)


def regret(trajectory: Trajectory) -> float:
    assert trajectory.regret is not None
    return trajectory.regret


def mean_curve(name: str, means: tuple[float, ...], horizon: int, n: int) -> np.ndarray:
    """Mean cumulative pseudo-regret over ``n`` plays of Bernoulli arms, shape (T,)."""
    played = plays(ToyBandit, name, toy_scenario(means, horizon), n)
    return np.asarray(np.mean([pseudo_regret(one.oracle.expected_T_A, one.actions_T) for one in played], axis=0))


# ---- bandits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", [(0.9, 0.4), (0.9, 0.3, 0.2)])
def test_ucb1_auer_has_logarithmic_regret_under_its_bound(means: tuple[float, ...]) -> None:
    regret_T = mean_curve("ucb1_auer", means, 3200, 12)
    gaps = [max(means) - mean for mean in means if mean < max(means)]
    at = {horizon: float(regret_T[horizon - 1]) for horizon in (200, 400, 800, 1600, 3200)}
    for horizon, value in at.items():
        assert value <= sum(8 * math.log(horizon) / gap + (1 + math.pi**2 / 3) * gap for gap in gaps)
    # log 3200 / log 200 = 1.52; a regret like sqrt(T) has 4, a linear one 16. Every doubling adds about the same.
    assert at[3200] / at[200] < 3
    added = [at[2 * horizon] - at[horizon] for horizon in (200, 400, 800, 1600)]
    assert max(added) < 2.5 * min(added)


def test_uniform_play_fails_the_test_of_logarithmic_growth() -> None:
    regret_T = mean_curve("uniform", (0.9, 0.4), 3200, 2)
    assert 14 < regret_T[3199] / regret_T[199] < 18


def test_greedy_is_not_ucb() -> None:
    """On one tape they part; on the hard instance greedy loses the best arm for good about half of the time."""
    scenario = toy_scenario((0.6, 0.4, 0.4, 0.4, 0.4), 100)
    played = {name: plays(ToyBandit, name, scenario, 150) for name in ("greedy", "ucb1", "ucb1_auer")}
    failures = {name: suffix_failure_frequency(played[name]) for name in played}
    assert failures["greedy"] > 0.3 and failures["ucb1"] < 0.1 and failures["ucb1_auer"] == 0
    assert all(a.actions_T != b.actions_T for a, b in zip(played["greedy"], played["ucb1"], strict=True))


def changing_sides(horizon: int) -> np.ndarray:
    """Action 0 pays 1 in the first third, action 1 in the others; action 2 always pays 0.2. Shape (T, 3)."""
    first_T = np.arange(horizon) < horizon // 3
    return np.stack([first_T * 1.0, ~first_T * 1.0, np.full(horizon, 0.2)], axis=1)


def two_coins(horizon: int) -> np.ndarray:
    """Three coins of chance 0.9, 0.3 and 0.3. Shape (T, 3)."""
    return (np.random.default_rng(0).random((horizon, 3)) < np.array([0.9, 0.3, 0.3])).astype(float)


@pytest.mark.parametrize("rewards", [changing_sides, two_coins])
def test_exp3_stays_under_its_bound_on_average(rewards: Any) -> None:
    rewards_T_A = rewards(400)
    bound = 2 * math.sqrt((math.e - 1) * 400 * 3 * math.log(3))  # 95.2
    mean = np.mean([regret(one) for one in pulls_on_tape("exp3", rewards_T_A, 12)])
    uniform = np.mean([regret(one) for one in pulls_on_tape("uniform", rewards_T_A, 12)])
    assert mean < bound < uniform


def test_players_that_forget_follow_a_change_that_others_miss() -> None:
    """Dynamic regret where the chances 0.9 and 0.1 of two coins are swapped in the middle."""
    first_T = np.arange(1000) < 500
    means_T_A = np.where(np.stack([first_T, ~first_T], axis=1), 0.9, 0.1)
    rewards_T_A = (np.random.default_rng(0).random((1000, 2)) < means_T_A).astype(float)

    def missed(name: str) -> float:
        played = pulls_on_tape(name, rewards_T_A, 6)
        return float(np.mean([pseudo_regret(means_T_A, one.actions_T)[-1] for one in played]))

    assert missed("restarted_exp3") < 0.7 * missed("exp3")
    thompson = missed("thompson")
    assert missed("sw_ucb") < 0.5 * thompson and missed("discounted_ucb") < 0.7 * thompson


# ---- full information -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", NAMES)
def test_ftrl_stays_under_its_bound_on_every_generator(sequence: str) -> None:
    """Hedge under sqrt(T log K / 2), FTRL with L2 under sqrt((K - 1) T) / 2, whatever is drawn: no average."""
    for n_actions, horizon, n in ((2, 25, 8), (5, 25, 8), (3, 100, 2)):
        hedge, ftrl_l2 = math.sqrt(horizon * math.log(n_actions) / 2), math.sqrt((n_actions - 1) * horizon) / 2
        generator = FullInformationGenerator(actions=[n_actions], horizon=[horizon], sequence=[sequence])
        for seed in range(n):
            scenario = generator.draw(np.random.default_rng(seed))
            assert regret(plays(FullInformationEnv, "hedge", scenario, 1)[0]) <= hedge
            assert regret(plays(FullInformationEnv, "ftrl_l2", scenario, 1)[0]) <= ftrl_l2


def alternating(horizon: int) -> np.ndarray:
    """Action 0 pays 1/2 first; then 1 goes to action 1 and to action 0 in turn. Shape (T, 2)."""
    odd_T = np.arange(horizon) % 2 == 1
    rewards_T_A = np.stack([~odd_T, odd_T], axis=1).astype(float)
    rewards_T_A[0] = 0.5, 0.0
    return rewards_T_A


def test_following_the_leader_is_linear_where_the_lead_alternates() -> None:
    # It earns 1/4 in the first round and then nothing: the leader never pays. The best action has T / 2.
    assert {T: regret(on_tape("ftl", alternating(T))) for T in (50, 100, 200)} == {50: 24.75, 100: 49.75, 200: 99.75}


@pytest.mark.parametrize(
    ("name", "factor"), [("hedge", math.sqrt(math.log(2) / 2)), ("ftrl_l2", 0.5), ("ftpl", math.sqrt(2 * math.log(2)))]
)
def test_regularized_leaders_are_not(name: str, factor: float) -> None:
    for horizon in (50, 100, 200):
        assert regret(on_tape(name, alternating(horizon))) <= factor * math.sqrt(horizon)


def test_ftpl_stays_under_its_bound() -> None:
    rewards_T_A = changing_sides(150)
    bound = math.sqrt(2 * 150 * math.log(3))  # 18.2; the 1000 draws move it by less than 1
    assert regret(on_tape("ftpl", rewards_T_A)) < bound < regret(on_tape("uniform", rewards_T_A))


def solved(objective: Any, n_actions: int) -> np.ndarray:
    """The minimizer over the simplex by a general solver, shape (A,)."""
    found = minimize(
        objective,
        np.full(n_actions, 1 / n_actions),
        method="SLSQP",
        bounds=[(1e-12, 1)] * n_actions,
        constraints={"type": "eq", "fun": lambda policy_A: policy_A.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    return np.asarray(found.x)


@pytest.mark.parametrize("n_actions", [2, 3, 7])
def test_the_projection_is_the_nearest_point_of_the_simplex(n_actions: int) -> None:
    rng = np.random.default_rng(n_actions)
    for scale in (0.1, 1.0, 5.0):
        point_A = scale * rng.standard_normal(n_actions)
        nearest_A = solved(lambda policy_A, point_A=point_A: ((policy_A - point_A) ** 2).sum(), n_actions)
        assert project(point_A) == pytest.approx(nearest_A, abs=1e-4)
        assert project(point_A).min() >= 0 and project(point_A).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n_actions", [2, 5])
def test_the_closed_forms_of_ftrl_solve_its_problem(n_actions: int) -> None:
    """The last policy maximizes <policy, sums> - regularizer / rate over the simplex."""
    rewards_T_A = np.random.default_rng(n_actions).random((12, n_actions))
    sums_A = rewards_T_A[:-1].sum(axis=0)
    eta, rate = hedge_rate(12, n_actions), l2_rate(12, n_actions)
    entropic_A = solved(lambda p_A: -(p_A @ sums_A) + (p_A * np.log(p_A)).sum() / eta, n_actions)
    euclidean_A = solved(lambda p_A: -(p_A @ sums_A) + (p_A**2).sum() / (2 * rate), n_actions)
    assert on_tape("hedge", rewards_T_A).actions_T[-1] == pytest.approx(entropic_A, abs=1e-4)
    assert on_tape("ftrl_l2", rewards_T_A).actions_T[-1] == pytest.approx(euclidean_A, abs=1e-4)
