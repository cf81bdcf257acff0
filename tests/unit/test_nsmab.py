from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_plugins.contexts import CONTEXTS
from env_plugins.mab import BanditEnv, BanditGenerator
from env_plugins.nsmab import DriftGenerator, DriftingBanditEnv
from env_plugins.nsmab.drift import gradual, seasonal, within_budget
from env_plugins.nsmab.env import HINTS
from env_plugins.nsmab.suites import SUITES, TRAIN
from rmft_verl.env import load_env
from rmft_verl.env.check import check_env
from rmft_verl.env.regret import regret_curve, uniform_regret, variation_budget
from rmft_verl.types import Scenario

MEANS = [[0.2, 0.8], [0.2, 0.8], [0.9, 0.3], [0.7, 0.5]]
GAME = {"law": "bernoulli", "means": MEANS, "drift": "abrupt", "variation": 0.9}
SCENARIO = Scenario("nsmab", 4, ("amber", "blue"), "buttons", GAME)
KINDS = ("abrupt", "gradual", "seasonal")


def draws(count: int = 100, **options: Any) -> list[Scenario]:
    generator = DriftGenerator(**options)
    return [generator.draw(np.random.default_rng(seed)) for seed in range(count)]


def means(scenario: Scenario) -> np.ndarray:
    return np.array(scenario.game["means"])


def test_regret_and_variation_of_a_game_made_by_hand() -> None:
    env = DriftingBanditEnv(SCENARIO, 0)
    env.reset()
    for action in (1, 0, 1, 0):
        env.step(action)
    oracle = env.oracle()
    assert oracle.kind == "dynamic"
    np.testing.assert_array_equal(oracle.expected_T_A, MEANS)
    # Round 1 best, round 2 loses 0.6, round 3 loses 0.6, round 4 best.
    np.testing.assert_allclose(regret_curve(oracle, (1, 0, 1, 0)), [0, 0.6, 1.2, 1.2])
    # Half of each gap: (0.6 + 0.6 + 0.6 + 0.2) / 2.
    assert uniform_regret(oracle) == pytest.approx(1.0)
    # Steps 0, max(0.7, 0.5), max(0.2, 0.2).
    assert variation_budget(oracle.expected_T_A) == pytest.approx(0.9)


def test_conforms_and_loads() -> None:
    check_env(DriftingBanditEnv, {"law": ["bernoulli", "gaussian"]}, episodes=10)
    check_env(DriftingBanditEnv, {"arms": [2, 25], "min_gap": 0, "law": ["bounded", "heavy_tailed"], "budget": 1.5}, 4)
    assert load_env("env_plugins.nsmab:DriftingBanditEnv") is DriftingBanditEnv
    assert DriftingBanditEnv.SUITES is SUITES


def test_the_game_says_what_varies() -> None:
    for scenario in draws(300, arms=[2, 6], horizon=[25, 40], min_gap=0.05):
        assert scenario.env == "nsmab" and scenario.game["drift"] in KINDS
        means_T_A = means(scenario)
        assert means_T_A.shape == (scenario.horizon, len(scenario.actions))
        assert means_T_A.min() >= 0.1 and means_T_A.max() <= 0.9
        np.testing.assert_array_equal(means_T_A, np.round(means_T_A, 4))
        assert scenario.game["variation"] == pytest.approx(variation_budget(means_T_A), abs=5e-5)
        np.testing.assert_array_equal(DriftingBanditEnv(scenario, 0).oracle().expected_T_A, means_T_A)


def test_abrupt_drift_is_piecewise_constant() -> None:
    starts: list[int] = []
    for scenario in draws(300, drift="abrupt", horizon=[12], changes=[0, 2], min_gap=0.1):
        moved_T_A = np.diff(means(scenario), axis=0) != 0
        assert (moved_T_A.all(axis=1) | ~moved_T_A.any(axis=1)).all()  # all means are drawn anew, or none
        assert moved_T_A.any(axis=1).sum() == scenario.game["changes"]
        starts += [int(t) for t in np.flatnonzero(moved_T_A.any(axis=1))]
        for row in means(scenario):
            second, best = np.sort(row)[-2:]
            assert best - second >= 0.1
    assert {starts.count(t) > 10 for t in range(11)} == {True}  # any round but the first


def test_one_best_arm_that_moves() -> None:
    for scenario in draws(50, drift="abrupt", means="one_best", min_gap=0.4, arms=[4]):
        np.testing.assert_array_equal(np.sort(means(scenario), axis=1), [[0.3, 0.3, 0.3, 0.7]] * 30)


def test_gradual_drift_takes_bounded_steps() -> None:
    steps = np.concatenate([np.diff(means(s), axis=0).ravel() for s in draws(100, drift="gradual", step=0.05)])
    assert 0.049 < np.abs(steps).max() <= 0.05 + 1e-4
    assert abs(steps.mean()) < 0.001
    long = means(draws(1, drift="gradual", step=0.3, horizon=[3000], arms=[2], min_gap=0)[0])
    assert long.min() < 0.11 and long.max() > 0.89 and abs(long.mean() - 0.5) < 0.03  # reflected: uniform in the end


def test_reflection_by_hand() -> None:
    class Steps:
        def uniform(self, low: float, high: float, shape: tuple[int, int]) -> np.ndarray:
            assert (low, high, shape) == (-0.4, 0.4, (3, 1))
            return np.array([[0.3], [0.4], [-0.4]])

    # 0.5 -> 0.8; 1.2 is 0.3 beyond 0.9 and comes back to 0.6; the walk behind the mirror turns: 0.6 + 0.4 = 1.0 -> 0.8.
    path_T_A = gradual(np.array([0.5]), 0.4, 0.1, 0.9, 4, Steps())  # type: ignore[arg-type]
    np.testing.assert_allclose(path_T_A, [[0.5], [0.8], [0.6], [0.8]])


def test_seasons_return() -> None:
    for scenario in draws(20, drift="seasonal", horizon=[50], period=[10, 25]):
        period, means_T_A = scenario.game["period"], means(scenario)
        assert period in (10, 25)
        np.testing.assert_array_equal(means_T_A[period:], means_T_A[:-period])
        assert (np.ptp(means_T_A, axis=0) > 0.7).all()
        assert len({tuple(column) for column in means_T_A.T}) == len(scenario.actions)  # a phase of their own
    one_T_A = seasonal(1, 4, 0.0, 1.0, 4, np.random.default_rng(0))
    phase = 2 * np.pi * np.random.default_rng(0).random()
    np.testing.assert_allclose(one_T_A[:, 0], 0.5 + 0.5 * np.sin(phase + np.pi / 2 * np.arange(4)))


def test_stationary_control() -> None:
    for scenario in draws(20, drift="stationary"):
        assert scenario.game["variation"] == 0 and len({tuple(row) for row in scenario.game["means"]}) == 1


@pytest.fixture(scope="module")
def unbounded() -> list[Scenario]:
    return draws(500, horizon=[30, 60])


@pytest.mark.parametrize("budget", [0.0, 0.05, 0.7, 3.0])
def test_budgets_hold(unbounded: list[Scenario], budget: float) -> None:
    for before, after in zip(unbounded, draws(500, horizon=[30, 60], budget=budget), strict=True):
        spent = variation_budget(means(after))
        assert spent <= budget and means(after).min() >= 0.1 and means(after).max() <= 0.9
        if before.game["variation"] <= budget:
            assert before == after
        else:
            assert spent >= 0.98 * budget - 0.002  # used up, but for the fourth decimal


def test_shrinking_by_hand() -> None:
    # V_T = 0.6; the averages are 0.6 and 0.5; a third of the budget leaves a third of every distance to them.
    shrunk_T_A = within_budget(np.array([[0.9, 0.5], [0.3, 0.5]]), 0.2, 4)
    np.testing.assert_allclose(shrunk_T_A, [[0.7, 0.5], [0.5, 0.5]])


@pytest.mark.parametrize("law", ["bernoulli", "gaussian"])
def test_rewards_follow_the_means(law: str) -> None:
    cycles = 4000
    game = {"law": law, "noise": 0.3, "means": MEANS * cycles, "drift": "seasonal"}
    for arm in range(2):
        env = DriftingBanditEnv(Scenario("nsmab", 4 * cycles, SCENARIO.actions, "buttons", game), 3)
        env.reset()
        drawn_C_T = np.array([env.step(arm).reward for _ in range(4 * cycles)]).reshape(cycles, 4)
        expected_T = np.array(MEANS)[:, arm]
        deviation_T = np.sqrt(expected_T * (1 - expected_T)) if law == "bernoulli" else np.full(4, 0.3)
        assert (np.abs(drawn_C_T.mean(axis=0) - expected_T) < 4 * deviation_T / np.sqrt(cycles)).all()
        np.testing.assert_allclose(drawn_C_T.std(axis=0), deviation_T, rtol=0.05)


def test_told_like_a_bandit_that_may_change() -> None:
    still = Scenario("mab", 4, SCENARIO.actions, "buttons", {"law": "bernoulli", "means": [0.2, 0.8]})
    bandit = BanditEnv(still, 0).reset().messages[0].content
    drifting = DriftingBanditEnv(SCENARIO, 0).reset().messages[0].content
    fixed = "its own fixed chance of a 1, which you are not told."
    assert drifting == bandit.replace(
        fixed, "its own chance of a 1, which you are not told and which may change over time."
    )
    graded = Scenario("nsmab", 4, SCENARIO.actions, "buttons", GAME | {"law": "gaussian", "noise": 0.3})
    assert (
        "not told and which may change over time; results" in DriftingBanditEnv(graded, 0).reset().messages[0].content
    )


@pytest.mark.parametrize("kind", HINTS)
def test_only_suggestive_framing_tells_the_kind(kind: str) -> None:
    (plain,) = draws(1, drift=kind, contexts=["buttons"])
    (leading,) = draws(1, drift=kind, contexts=["buttons"], framing="suggestive")
    hint = HINTS[kind].format(option="button")
    story = DriftingBanditEnv(leading, 0).reset().messages[0].content
    assert f"{CONTEXTS['buttons'].hint} {hint}\n" in story
    assert hint not in DriftingBanditEnv(plain, 0).reset().messages[0].content


def test_equal_seeds_give_equal_bytes() -> None:
    for first, second in zip(draws(30, law=["gaussian"]), draws(30, law=["gaussian"]), strict=True):
        assert first.to_json() == second.to_json()
        plays = [DriftingBanditEnv(first, 7), DriftingBanditEnv(Scenario.from_json(second.to_json()), 7)]
        told = [[env.reset(), *(env.step(t % 3) for t in range(first.horizon))] for env in plays]
        assert repr(told[0]) == repr(told[1])


def test_generalization_suites_change_little() -> None:
    suites = {name: options for name, options in SUITES.items() if not name.startswith("explore")}
    changed = {name: {key for key in options if options[key] != TRAIN.get(key)} for name, options in suites.items()}
    assert changed == {
        "train": set(),
        "unseen_law": {"law"},
        **{kind: {"drift"} for kind in (*KINDS, "stationary")},
        "heldout_domain": {"contexts"},
        "longer": {"horizon", "changes"},  # three times the changes: as many a round as in training
        "wider": {"arms"},
    }
    assert DriftGenerator(**TRAIN).draw(np.random.default_rng(0)).env == "nsmab" != BanditGenerator.ENV


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drift": "sudden"}, r"drift has 'sudden': use abrupt, gradual, seasonal or stationary\."),
        ({"changes": [30]}, r"changes has 30: at most 29 fit into 30 rounds"),
        ({"changes": [-1]}, r"changes has -1: use whole numbers of at least 0"),
        ({"step": 0.0}, r"step=0\.0: use a value above 0, at most the range of means 0\.8"),
        ({"step": 0.9}, r"step=0\.9"),
        ({"step": "far"}, r"step='far': use a finite number"),
        ({"period": [1]}, r"period has 1: use whole numbers of at least 2"),
        ({"budget": -1.0}, r"budget=-1\.0: means in this range vary between 0 and 23\.2"),
        ({"budget": 24}, r"budget=24"),
        ({"budget": "small"}, r"budget='small': use a finite number"),
        ({"means": "normal", "law": "gaussian"}, r"means='normal': a drift needs a range, use uniform or one_best"),
        ({"arms": [1]}, r"arms has 1"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        DriftGenerator(**options)
    assert "\n" not in str(error.value)
