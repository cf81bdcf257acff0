"""What bandits are drawn: options, reward laws, laws of the means, suites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_plugins.contexts import CONTEXTS, SPLITS, shown
from env_plugins.mab import BanditEnv, BanditGenerator
from env_plugins.mab.laws import draw_tape, reward_scale
from env_plugins.mab.suites import SUITES, TRAIN
from env_plugins.nsmab import DriftGenerator
from rmft_verl.env.check import check_env
from rmft_verl.types import Scenario

MEANS_A = np.array([0.1, 0.5, 0.8])
GAMES: dict[str, dict[str, Any]] = {
    "bernoulli": {"law": "bernoulli"},
    "gaussian": {"law": "gaussian", "noise": 0.3},
    "heavy_tailed": {"law": "heavy_tailed", "noise": 0.3},
    "bounded": {"law": "bounded", "spread": 0.6},
}
ROUNDS = 200_000


def tape(law: str) -> np.ndarray:
    return draw_tape(GAMES[law], np.broadcast_to(MEANS_A, (ROUNDS, 3)), np.random.default_rng(5))


@pytest.mark.parametrize(
    ("law", "deviations_A"),
    [
        ("bernoulli", [0.3, 0.5, 0.4]),  # sqrt(m (1 - m))
        ("gaussian", [0.3, 0.3, 0.3]),
        ("heavy_tailed", [0.3, 0.3, 0.3]),
        ("bounded", [0.18, 0.3, 0.24]),  # 0.6 sqrt(m (1 - m))
    ],
)
def test_rewards_have_the_stated_mean_and_width(law: str, deviations_A: list[float]) -> None:
    rewards_T_A = tape(law)
    errors_A = np.abs(rewards_T_A.mean(axis=0) - MEANS_A) / (np.array(deviations_A) / np.sqrt(ROUNDS))
    assert (errors_A < 4).all()
    # The sample deviation of a law without a fourth moment settles slowly.
    np.testing.assert_allclose(rewards_T_A.std(axis=0), deviations_A, rtol=0.05 if law == "heavy_tailed" else 0.01)
    assert reward_scale(GAMES[law]) == pytest.approx(max(deviations_A))


def test_laws_differ_in_their_range_and_tails() -> None:
    assert set(np.unique(tape("bernoulli"))) == {0.0, 1.0}
    bounded_T_A = tape("bounded")
    assert bounded_T_A.min() == 0 and bounded_T_A.max() == 1 and len(np.unique(bounded_T_A)) == 101
    # P(|t_3| > 5 sqrt 3) = 0.0032, against 6e-7 for a normal law.
    far = {law: (np.abs(tape(law) - MEANS_A) > 1.5).mean() for law in ("gaussian", "heavy_tailed")}
    assert far["gaussian"] < 2e-5 and 0.0028 < far["heavy_tailed"] < 0.0037


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (
            "gaussian",
            "its own fixed average, which you are not told; results vary around it with standard deviation 0.3.",
        ),
        ("heavy_tailed", "with standard deviation 0.3, and now and then one lies very far from it."),
        (
            "bounded",
            "Each result lies between 0.00 and 1.00. Every button has its own fixed average, which you are not",
        ),
        ("bounded", "vary around it with a standard deviation of at most 0.3."),
    ],
)
def test_the_law_is_told(law: str, words: str) -> None:
    scenario = Scenario("mab", 3, ("amber", "blue", "red"), "buttons", GAMES[law] | {"means": [0.1, 0.5, 0.8]})
    first = BanditEnv(scenario, 0).reset()
    assert words in first.messages[0].content
    assert (first.spec.reward_law, first.spec.reward_scale) == (law, 0.3)


def test_graded_rewards_are_told_in_the_unit_of_the_domain() -> None:
    context = next(context for context in CONTEXTS.values() if context.scale != 1 and context.unit)
    game = GAMES["gaussian"] | {"means": [0.1, 0.5]}
    env = BanditEnv(Scenario("mab", 2, context.names[:2], context.key, game), 3)
    first = env.reset()
    assert (first.spec.shown_scale, first.spec.unit) == (context.scale, context.unit)
    assert f"standard deviation {0.3 * context.scale:g} {context.unit}." in first.messages[0].content
    result = env.step(1)
    assert result.observation is not None and shown(context, result.reward) in result.observation.messages[0].content
    binary = BanditEnv(Scenario("mab", 2, context.names[:2], context.key, {"law": "bernoulli", "means": [0.1, 0.5]}), 3)
    assert (binary.reset().spec.shown_scale, binary.reset().spec.unit) == (1.0, "")


def test_suites_can_be_played() -> None:
    assert BanditEnv.SUITES is SUITES
    for options in SUITES.values():
        scenario = BanditGenerator(**options).draw(np.random.default_rng(2))
        env = BanditEnv(scenario, 2)
        env.reset()
        assert [env.step(0).done for _ in range(scenario.horizon)].count(True) == 1
    check_env(BanditEnv, SUITES["unseen_law"], episodes=6)
    check_env(BanditEnv, SUITES["evolve_gaussian_hard_k20"] | {"horizon": [30]}, episodes=2)


def test_the_published_instances() -> None:
    def drawn(suite: str) -> Scenario:
        return BanditGenerator(**SUITES[suite]).draw(np.random.default_rng(1))

    for suite, means, horizon in (
        ("hard", [0.4] * 4 + [0.6], 100),
        ("easy", [0.25] * 3 + [0.75], 100),
        ("evolve_bernoulli_easy_k5", [0.25] * 4 + [0.75], 300),
        ("evolve_bernoulli_hard_k20", [0.4] * 19 + [0.6], 1000),
    ):
        scenario = drawn(suite)
        assert (sorted(scenario.game["means"]), scenario.horizon, scenario.game["law"]) == (means, horizon, "bernoulli")
    for suite, arms, sigma, horizon in (("easy_k20", 20, 1.0, 300), ("hard_k5", 5, 3.0, 1000)):
        scenario = drawn(f"evolve_gaussian_{suite}")
        assert (len(scenario.actions), scenario.horizon, scenario.game["noise"]) == (arms, horizon, sigma)
    generator = BanditGenerator(**SUITES["evolve_gaussian_hard_k20"])
    means = np.array([generator.draw(np.random.default_rng(seed)).game["means"] for seed in range(200)])
    assert abs(means.mean()) < 4 * 3 / np.sqrt(means.size) and means.std() == pytest.approx(3, rel=0.05)


def test_the_best_arm_stands_anywhere() -> None:
    generator = BanditGenerator(**SUITES["easy"])
    best = [int(np.argmax(generator.draw(np.random.default_rng(seed)).game["means"])) for seed in range(2000)]
    assert all(420 < best.count(arm) < 580 for arm in range(4))  # 500 expected, standard deviation 19


def test_generalization_suites_change_one_thing_each() -> None:
    changed = {
        name: {key for key in TRAIN if options[key] != TRAIN[key]}
        for name, options in SUITES.items()
        if options.keys() == TRAIN.keys()
    }
    assert changed == {
        "train": set(),
        "heldout_domain": {"contexts"},
        "heldout_names": {"names"},
        "longer": {"horizon"},
        "wider": {"arms"},
        "unseen_law": {"law"},
    }
    assert max(SUITES["longer"]["horizon"]) == 3 * max(TRAIN["horizon"])
    assert SUITES["wider"]["arms"] == [2 * arms for arms in TRAIN["arms"]]


def test_draws_respect_the_options() -> None:
    generator = BanditGenerator(arms=[2, 4], horizon=[5, 6], min_gap=0.3, mean_low=0.2, mean_high=0.8)
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(200)]
    assert {len(scenario.actions) for scenario in scenarios} == {2, 4}
    assert {scenario.horizon for scenario in scenarios} == {5, 6}
    assert {scenario.context for scenario in scenarios} == {context.key for context in SPLITS["train"]}
    for scenario in scenarios:
        means = np.sort(scenario.game["means"])
        assert means[-1] - means[-2] >= 0.3 and means[0] >= 0.2 and means[-1] <= 0.8
        assert set(scenario.actions) <= set(CONTEXTS[scenario.context].names)


def test_names_say_nothing() -> None:
    generator = BanditGenerator(arms=[3], contexts=["buttons"])
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(3000)]
    best = [scenario.actions[int(np.argmax(scenario.game["means"]))] for scenario in scenarios]
    counts = [best.count(name) for name in CONTEXTS["buttons"].names]
    assert min(counts) > 100 and max(counts) < 200  # 150 expected, standard deviation 12
    positions = [int(np.argmax(scenario.game["means"])) for scenario in scenarios]
    assert all(900 < positions.count(position) < 1100 for position in range(3))


def test_a_gap_as_wide_as_the_range_is_accepted_whatever_floats_make_of_it() -> None:
    assert 0.6 - 0.4 < 0.2
    generator = BanditGenerator(means="one_best", mean_low=0.4, mean_high=0.6, min_gap=0.2, arms=[3])
    assert sorted(generator.draw(np.random.default_rng(0)).game["means"]) == [0.4, 0.4, 0.6]
    DriftGenerator(mean_low=0.4, mean_high=0.6, step=0.2, min_gap=0.05, budget=29 * 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": [1]}, r"arms has 1: use whole numbers of at least 2\."),
        ({"arms": [2.5]}, r"arms has 2\.5"),
        ({"arms": []}, r"arms is empty"),
        ({"horizon": [0]}, r"horizon has 0: use whole numbers of at least 1"),
        ({"law": ["poisson"]}, r"law has 'poisson': use bernoulli, gaussian, bounded or heavy_tailed\."),
        ({"contexts": "tests"}, r"contexts='tests': use basic, "),
        ({"contexts": ["casino"]}, r"contexts has 'casino': choose from buttons, "),
        ({"contexts": []}, r"contexts is empty"),
        ({"min_gap": 0.9}, r"min_gap=0\.9: too wide for 5 means"),
        ({"min_gap": -0.1}, r"min_gap=-0\.1"),
        ({"min_gap": "big"}, r"min_gap='big': use a finite number"),
        ({"mean_low": 0.9, "mean_high": 0.1}, r"mean_low=0\.9: must be below mean_high"),
        ({"mean_high": 1.5}, r"Bernoulli means lie within 0 and 1"),
        ({"noise": 0.0}, r"noise=0\.0"),
        ({"spread": 1.0}, r"spread=1\.0: use a value between 0 and 1"),
        ({"law": "bounded", "mean_low": 0.0}, r"mean_low=0\.0, .*Bounded means lie within 0\.01 and 0\.99"),
        ({"means": "fixed"}, r"means='fixed': use uniform, one_best or normal"),
        ({"means": "normal"}, r"law has 'bernoulli': means=normal needs laws without bounds"),
        ({"means": "normal", "law": "gaussian", "min_gap": 9}, r"min_gap=9: too wide for 5 means"),
        ({"means": "one_best", "min_gap": 0}, r"min_gap=0: means=one_best needs a gap above 0"),
        ({"means": "one_best", "min_gap": 0.81}, r"min_gap=0\.81: too wide"),
        ({"names": "test"}, r"names='test': use train or heldout"),
        ({"framing": "leading"}, r"framing='leading': use neutral or suggestive"),
        ({"answer": "json"}, r"answer='json': use free or action_only"),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        BanditGenerator(**options)
    assert "\n" not in str(error.value)
