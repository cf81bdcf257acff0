from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from env_plugins.cb import ContextGenerator, ContextualBanditEnv, ratings
from env_plugins.cb.suites import SUITES, TRAIN
from rmft_verl.env import EnvLoadError
from rmft_verl.env.check import check_env
from rmft_verl.env.regret import regret_curve, uniform_regret
from rmft_verl.eval.algorithms import REFERENCES, evaluate_players, references
from rmft_verl.types import Observation, Scenario, StepResult

# Means by round: (1, -1), (0, 2), (1, 1), (0.5, 0.5).
GAME: dict[str, Any] = {
    "kind": "linear",
    "law": "gaussian",
    "noise": 0.25,
    "contexts": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]],
    "weights": [[1.0, 0.0], [-1.0, 2.0]],
}
SCENARIO = Scenario("cb", 4, ("amber", "blue"), "buttons", GAME)


def draws(count: int = 100, **options: Any) -> list[Scenario]:
    generator = ContextGenerator(**options)
    return [generator.draw(np.random.default_rng(seed)) for seed in range(count)]


def test_regret_of_a_game_made_by_hand() -> None:
    env = ContextualBanditEnv(SCENARIO, 0)
    env.reset()
    for action in (1, 1, 0, 0):
        env.step(action)
    oracle = env.oracle()
    assert oracle.kind == "contextual"
    assert oracle.expected_T_A.tolist() == [[1, -1], [0, 2], [1, 1], [0.5, 0.5]]
    assert regret_curve(oracle, (1, 1, 0, 0)).tolist() == [2, 2, 2, 2]
    assert regret_curve(oracle, (0, 0, 1, None)).tolist() == [0, 2, 2, 2]
    assert uniform_regret(oracle) == pytest.approx(1 + 1)


def test_the_words_and_the_numbers_tell_the_same_context() -> None:
    env = ContextualBanditEnv(SCENARIO, 0)
    first = env.reset()
    text = first.messages[0].content
    assert "described by 2 numbers that you are told before you choose." in text
    assert "standard deviation 0.25." in text and text.endswith("\nRound 1 of 4. The case: 1.00, 0.00.")
    assert first.spec.n_features == 2 and first.context_F is not None and first.context_F.tolist() == [1.0, 0.0]
    second = env.step(1).observation
    assert second is not None and second.messages[0].content.endswith("\nRound 2 of 4. The case: 0.00, 1.00.")
    assert second.context_F is not None and second.context_F.tolist() == [0.0, 1.0]


def test_rewards_are_the_mean_in_the_context_with_noise() -> None:
    paid_S_T_A = []
    for seed in range(400):
        for arm in range(2):
            env = ContextualBanditEnv(SCENARIO, seed)
            env.reset()
            paid_S_T_A.append([env.step(arm).reward for _ in range(4)])
    paid = np.array(paid_S_T_A).reshape(400, 2, 4)
    expected_A_T = ContextualBanditEnv(SCENARIO, 0).oracle().expected_T_A.T
    assert (np.abs(paid.mean(axis=0) - expected_A_T) < 5 * 0.25 / 20).all()
    np.testing.assert_allclose(paid.std(axis=0), 0.25, rtol=0.15)


def test_linear_games_are_drawn_from_the_law_that_the_prior_names() -> None:
    scenarios = draws(300, arms=[4], features=[3])
    contexts = np.concatenate([scenario.game["contexts"] for scenario in scenarios])
    weights = np.concatenate([scenario.game["weights"] for scenario in scenarios])
    assert contexts.shape == (300 * 20, 3) and weights.shape == (300 * 4, 3)
    np.testing.assert_allclose(np.linalg.norm(contexts, axis=1), 1, atol=0.01)
    assert abs(contexts.mean()) < 0.02 and np.abs(np.cov(contexts.T) - np.eye(3) / 3).max() < 0.02
    assert abs(weights.mean()) < 5 / 3600**0.5 and np.abs(np.cov(weights.T) - np.eye(3)).max() < 0.15
    prior = ContextGenerator(noise=0.3).prior(scenarios[0])
    assert prior == {"law": "linear", "contexts": scenarios[0].game["contexts"], "scale": 1.0, "noise": 0.3}


def test_user_item_means_approximate_the_ratings() -> None:
    rated = ratings.synthetic()
    assert rated.shape == (400, 60) and set(np.unique(rated)) == {0, 1, 2, 3, 4, 5}
    counts = (rated > 0).sum(axis=0)
    assert (np.diff(counts) <= 0).all() and counts[0] > 300 > 200 > counts[-1]
    features, weights = ratings.factors("", 40, 5)
    left, sizes, right = np.linalg.svd(rated[:, :40], full_matrices=False)
    best = (left[:, :5] * sizes[:5]) @ right[:5]
    np.testing.assert_allclose(features @ weights.T, best, atol=1e-9)
    np.testing.assert_allclose(np.square(features).mean(axis=0), 1)
    assert (weights.max(axis=0) == np.abs(weights).max(axis=0)).all()
    for scenario in draws(20, kind="user_item", features=[5], arms=[6]):
        means_T_A = ContextualBanditEnv(scenario, 0).oracle().expected_T_A
        nearest = [np.abs(best - row.mean()).min() for row in means_T_A]
        assert max(nearest) < 0.1 and len(set(scenario.actions)) == 6


@pytest.mark.parametrize(
    "lines",
    [
        ["7::10::4::978300760", "7::11::2::1", "8::11::5::2", "9::11::1::3", "9::10::3::3"],
        ["7\t10\t4\t8", "7\t11\t2\t8", "8\t11\t5\t8", "9\t11\t1\t8", "9\t10\t3\t8"],
        ["userId,movieId,rating,timestamp", "7,10,4.0,1", "7,11,2.0,1", "8,11,5.0,1", "9,11,1.0,1", "9,10,3.0,1"],
    ],
)
def test_files_of_ratings_are_read(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert ratings.read(str(path)).tolist() == [[2, 4], [5, 0], [1, 3]]  # item 11, rated by three, comes first
    (scenario,) = draws(1, kind="user_item", ratings=str(path), catalogue=2, arms=[2], features=[2], horizon=[9])
    shown = {tuple(row) for row in ContextualBanditEnv(scenario, 0).oracle().expected_T_A.round(1).tolist()}
    assert {tuple(sorted(row)) for row in shown} <= {(2, 4), (0, 5), (1, 3)}
    check_env(ContextualBanditEnv, {"kind": ["user_item"], "ratings": str(path), "catalogue": 2, "arms": [2],
                                    "features": [2]}, episodes=2)  # fmt: skip


def test_conforms() -> None:
    check_env(ContextualBanditEnv)
    check_env(ContextualBanditEnv, {"kind": ["user_item"], "arms": [2, 25], "features": [1, 5]}, episodes=5)
    check_env(ContextualBanditEnv, SUITES["evolve_size_k30"], episodes=1)


class Late(ContextualBanditEnv):
    """Shows the context of the round before."""

    name: ClassVar[str] = "late"

    def reset(self) -> Observation:
        self._contexts_T_F = np.roll(self._contexts_T_F, 1, axis=0)
        return super().reset()


class Flat(ContextualBanditEnv):
    """Pays the average over all contexts, whatever the oracle says; the arms differ much more than the contexts."""

    name: ClassVar[str] = "flat"

    def _means(self) -> np.ndarray:
        return super()._means() + 10 * np.arange(self._n_actions)

    def step(self, action: Any) -> StepResult:
        result = super().step(action)
        mean_A = self._means_T_A.mean(axis=0)
        paid = float(result.reward - self._means_T_A[self._turn - 1, action] + mean_A[action])
        seen = result.observation
        if seen is not None and seen.feedback_A is not None:
            seen.feedback_A[action] = paid
        return StepResult(seen, paid, result.done)


class Blind(ContextualBanditEnv):
    """Has means that move while the context stays."""

    name: ClassVar[str] = "blind"

    def _means(self) -> np.ndarray:
        return np.asarray(super()._means() + np.arange(self._horizon)[:, None] / 10)


@pytest.mark.parametrize(
    ("env_class", "options", "said"),
    [
        (Late, {}, "show one context and have different means"),
        (Late, {"features": [5]}, "in another order the contexts explain the means as well"),
        (Late, {"kind": "user_item", "features": [5]}, "show one context and have different means"),
        (Flat, {}, "in rounds in which its mean is 1 higher"),
        (Flat, {"kind": "user_item", "features": [3]}, "in rounds in which its mean is 1 higher"),
        (Blind, {"features": [1]}, "show one context and have different means"),
    ],
)
def test_the_check_finds_contexts_that_lie(
    env_class: type[ContextualBanditEnv], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(EnvLoadError, match=said):
        check_env(env_class, options)


def test_equal_seeds_give_equal_bytes() -> None:
    kinds = ["linear", "user_item"]
    for first, second in zip(draws(30, kind=kinds), draws(30, kind=kinds), strict=True):
        assert first.to_json() == second.to_json()
        plays = [ContextualBanditEnv(first, 7), ContextualBanditEnv(Scenario.from_json(second.to_json()), 7)]
        told = [[env.reset(), *(env.step(t % 3) for t in range(first.horizon))] for env in plays]
        assert repr(told[0]) == repr(told[1])


def test_players_that_read_contexts_lead_and_the_oracle_has_no_regret() -> None:
    scenarios = draws(150)
    names = references(ContextualBanditEnv, scenarios, ["contextual"])
    assert names == REFERENCES["contextual"] and {"linucb", "linear_thompson"} < set(names)
    sets = evaluate_players(ContextualBanditEnv, (*names, "oracle"), scenarios, 1, 0)
    worst = sum(uniform_regret(played.oracle) for played in sets["oracle"])
    ratio = {name: sum(played.regret or 0.0 for played in plays) / worst for name, plays in sets.items()}
    assert ratio["oracle"] == 0 and all(0.9 < ratio[name] < 1.1 for name in ("uniform", "ucb1", "thompson", "greedy"))
    assert ratio["linucb"] < ratio["linear_thompson"] < 0.6


def test_generalization_suites_change_one_thing() -> None:
    suites = {name: options for name, options in SUITES.items() if not name.startswith("evolve")}
    changed = {name: {key for key in options if options[key] != TRAIN.get(key)} for name, options in suites.items()}
    assert changed == {
        "train": set(),
        "user_item": {"kind"},
        "heldout_domain": {"contexts"},
        "heldout_names": {"names"},
        "longer": {"horizon"},
        "wider": {"arms"},
        "more_features": {"features"},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cubic"}, r"kind has 'cubic': use linear or user_item\."),
        ({"features": [0]}, r"features has 0: use whole numbers of at least 1"),
        ({"noise": 0}, r"noise=0: use a standard deviation above 0"),
        ({"arms": [1]}, r"arms has 1"),
        ({"ratings": "r.dat"}, r"ratings='r\.dat': add user_item to kind"),
        ({"kind": "user_item", "ratings": "/no/such/r.dat"}, r"ratings='/no/such/r\.dat' cannot be read"),
        ({"kind": "user_item", "catalogue": 61}, r"catalogue has 61: use whole numbers of at least 5, at most 60"),
        ({"kind": "user_item", "catalogue": 5, "features": [6]}, r"features has 6: .* at most 5"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        ContextGenerator(**options)
    assert "\n" not in str(error.value)


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("1,2,3\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"r\.csv', line 2: write user, item, rating"):
        ratings.read(str(path))
