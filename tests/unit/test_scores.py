from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_bandit import toy_trajectory

from env_plugins.mab.generator import BanditGenerator
from env_plugins.nsmab.generator import DriftGenerator
from rmft_verl.algo import scores as scores_module
from rmft_verl.algo.posterior import Prior, posterior_regret
from rmft_verl.algo.scores import Scorer
from rmft_verl.config import ConfigError
from rmft_verl.env import load_env
from rmft_verl.eval.algorithms import evaluate_players
from rmft_verl.setup.env_checks import check_fit
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Trajectory


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(name: str, player: str, count: int, **options: object) -> tuple[object, list[Trajectory]]:
    env_class = load_env(name)
    generator = env_class.Generator(**options)
    scenarios = [generator.draw(rng(seed)) for seed in range(count)]
    return generator, evaluate_players(env_class, [player], scenarios, 2, 0)[player]


def scores(name: str, generator: object, played: list[Trajectory], further: float = 0.0) -> list[float]:
    return [play.score for play in Scorer(name, generator, further)(played, rng())]


def test_regret_and_reward_are_those_of_the_play() -> None:
    play = toy_trajectory((0.2, 0.9), (0, 1, 1), rewards=[1.0, 0.0, 1.0])
    assert scores("regret", None, [play]) == [pytest.approx(0.7)]
    assert scores("reward", None, [play]) == [-2.0]


def test_posterior_is_the_posterior_under_the_generators_own_options() -> None:
    generator, played = drawn("mab", "greedy", 4, arms=[3], horizon=[6], mean_low=0.2, mean_high=0.8, min_gap=0.05)
    prior = Prior("bernoulli", 0.2, 0.8, 0.05)
    for further in (0.0, 2.0):
        found = scores("posterior", generator, played, further)
        for play, value in zip(played, found, strict=True):
            rewards_T = np.array([turn.reward for turn in play.turns])
            expected = posterior_regret(prior, np.array(play.actions_T), rewards_T, 3, further * 6)
            assert value == pytest.approx(float(expected), abs=1e-8)


def test_gaussian_arms_have_their_noise_in_the_prior() -> None:
    generator = BanditGenerator(law=["gaussian"], noise=0.3)
    assert generator.prior(generator.draw(rng()))["noise"] == 0.3
    assert "noise" not in BanditGenerator().prior(BanditGenerator().draw(rng()))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"means": "one_best"}, "means='one_best'"), ({"law": ["bounded"]}, "law='bounded'")],
)
def test_a_law_without_a_posterior_is_refused(options: dict[str, object], named: str) -> None:
    generator = BanditGenerator(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=named):
        generator.prior(generator.draw(rng()))


def test_a_prior_that_drifts_needs_games_drawn_from_it() -> None:
    class Undrawn(DriftGenerator):
        @property
        def draw_means(self) -> object:
            raise AttributeError("draw_means", name="draw_means")

    class Misspelt(DriftGenerator):
        def prior(self, scenario: object) -> dict[str, object]:
            return {"law": self.lawless}  # type: ignore[attr-defined]

    config = load_config(["recipe=nsmab_tiny"])
    env_class = load_env("nsmab")
    check_fit(config, env_class)
    check_fit(config, type("Plugin", (env_class,), {"Generator": Undrawn}))  # its prior says how means drift
    config.env.options["budget"] = 1.0
    with pytest.raises(ConfigError, match=r"the generator of nsmab has no draw_means\(\.\.\.\); give it one"):
        check_fit(config, type("Plugin", (env_class,), {"Generator": Undrawn}))
    with pytest.raises(AttributeError, match="lawless"):
        check_fit(config, type("Plugin", (env_class,), {"Generator": Misspelt}))


FREE = 5.6
"""A budget that no game of 8 rounds exceeds, so it changes no law, but leaves only particles for the posterior."""


def test_drifting_means_are_scored_by_particles_that_the_plays_of_a_scenario_share() -> None:
    generator, played = drawn("nsmab", "ucb1", 2, arms=[2], horizon=[8], drift=["stationary"], min_gap=0.0, budget=FREE)
    found = scores("posterior", generator, played)
    prior = Prior("bernoulli", 0.1, 0.9)  # stationary "drift" has the exact posterior of a plain bandit
    for play, value in zip(played, found, strict=True):
        rewards_T = np.array([turn.reward for turn in play.turns])
        exact = float(posterior_regret(prior, np.array(play.actions_T), rewards_T, 2, 0.0))
        assert value == pytest.approx(exact, abs=0.15)  # at least 200 effective particles
    assert found == scores("posterior", generator, played)
    assert isinstance(generator, DriftGenerator)


def median_effective(plays: int = 8, **options: object) -> float:
    """Of that many plays of UCB1, each in its own scenario; the worst case, because no play shares its particles."""
    generator, played = drawn("nsmab", "ucb1", plays, contexts="basic", budget=23.2, **options)
    scorer = Scorer("posterior", generator)
    scorer(played[::2], rng())
    assert len(scorer.effective) == plays
    return float(np.median(scorer.effective))


def test_particles_grow_until_two_hundred_are_effective(monkeypatch: pytest.MonkeyPatch) -> None:
    assert median_effective(arms=[5], horizon=[30]) >= scores_module.ENOUGH == 200
    monkeypatch.setattr(scores_module, "MOST_PATHS", scores_module.PATHS)  # what was used before
    assert median_effective(arms=[5], horizon=[30]) < 100


def test_particles_do_not_depend_on_the_order_of_requests_and_scenarios_of_one_size_share_them() -> None:
    generator, played = drawn("nsmab", "ucb1", 2, arms=[2], horizon=[8], budget=FREE)
    grown, at_once = Scorer("posterior", generator), Scorer("posterior", generator)
    first = grown.paths_P_T_A(played[0].scenario, 2000)
    grown.paths_P_T_A(played[0].scenario, 4000)
    assert (grown.paths_P_T_A(played[2].scenario, 8000) == at_once.paths_P_T_A(played[0].scenario, 8000)).all()
    assert (at_once.paths_P_T_A(played[0].scenario)[:2000] == first).all() and first.shape == (2000, 8, 2)
    blocks = at_once.paths_P_T_A(played[0].scenario, 4000)
    assert (blocks[:2000] != blocks[2000:]).any()


@pytest.mark.parametrize("env", ["mab", "nsmab"])
def test_exact_scores_use_no_particles(env: str) -> None:
    generator, played = drawn(env, "ucb1", 1, arms=[2], horizon=[4])
    scorer = Scorer("posterior", generator)
    scorer(played, rng())
    assert scorer.effective == []


def test_in_full_information_the_posterior_score_is_the_regret() -> None:
    generator, played = drawn("fol", "hedge", 2)
    assert scores("posterior", generator, played) == scores("regret", generator, played)


def test_mixed_asks_the_generator_of_each_scenario() -> None:
    mixed = {"mab": {"arms": [2], "horizon": [4]}, "fol": {"horizon": [4]}}
    generator, played = drawn("mixed", "uniform", 8, **mixed)
    bandit = BanditGenerator(arms=[2], horizon=[4])
    for play, value in zip(played, scores("posterior", generator, played), strict=True):
        alone = scores("posterior", bandit, [play])[0] if play.scenario.env == "mab" else play.regret
        assert value == pytest.approx(alone, abs=1e-8)


def test_plays_that_differ_by_rounding_are_equal() -> None:
    play = toy_trajectory((0.2, 0.9), (0, 1))
    close = dataclasses.replace(play, regret=(play.regret or 0.0) + 1e-13)
    assert len(set(scores("regret", None, [play, close]))) == 1
