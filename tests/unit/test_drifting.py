"""The exact posterior of drifting means: by hand, against particles, and by what every posterior score must keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_plugins.nsmab.generator import DriftGenerator
from rmft_verl.algo.drifting import drift_regret
from rmft_verl.algo.particles import particle_regret
from rmft_verl.algo.posterior import Prior, posterior_regret

HALF = {"law": "bernoulli", "low": 0.0, "high": 1.0, "drifts": True}
PRECISE = {"law": ["gaussian"], "noise": 0.2}


def games(count: int, **options: Any) -> tuple[Prior, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """The prior, and (means_T_A, actions_T, rewards_T) of games that stay with an arm with probability 1/2."""
    generator, rng, found = DriftGenerator(contexts="basic", **options), np.random.default_rng(3), []
    for _ in range(count):
        scenario = generator.draw(rng)
        truth_T_A, law = np.array(scenario.game["means"]), scenario.game["law"]
        actions_T = rng.integers(truth_T_A.shape[1], size=len(truth_T_A))
        for t in range(1, len(actions_T)):
            actions_T[t] = actions_T[t - 1] if rng.random() < 0.5 else actions_T[t]
        means_T = truth_T_A[np.arange(len(actions_T)), actions_T]
        drawn_T = rng.random(len(means_T)) < means_T if law == "bernoulli" else rng.normal(means_T, generator.noise)
        found.append((truth_T_A, actions_T, drawn_T.astype(float)))
    return Prior(**generator.prior(scenario)), found


def test_one_change_by_hand() -> None:
    """Arm 0 pays 1 twice; the change comes before round 2 or 3. Two uniform arms: E max = 2/3, and 3/4 after a 1."""
    first, second = 2 / 3 - 1 / 2, (2 / 3 + 3 / 4) / 2 - (1 / 2 + 2 / 3) / 2
    present, fresh = 1 / 4, 1 / 3  # evidence: E[mu]^2 if the phase began in round 2, E[mu^2] if in round 3
    best, mean = (present * 3 / 4 + fresh * 2 / 3), (present * 2 / 3 + fresh / 2)
    third = (best - mean) / (present + fresh)
    played = np.array([0, 0, 0]), np.array([1.0, 1.0, 0.0])
    prior = Prior(**HALF, kinds=("abrupt",), changes=(1,))  # type: ignore[arg-type]
    assert drift_regret(prior, *played, 2) == pytest.approx(first + second + third)


def test_without_drift_it_is_the_score_of_a_plain_bandit() -> None:
    prior, played = games(20, arms=[3], horizon=[12], drift=["stationary"])
    for _, actions_T, rewards_T in played:
        exact = posterior_regret(prior, actions_T, rewards_T, 3, 5.0)
        assert drift_regret(prior, actions_T, rewards_T, 3, 5.0) == pytest.approx(float(exact), abs=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {"drift": ["abrupt"]},
        {"drift": ["gradual"]},
        {"drift": ["gradual"], "min_gap": 0.0, "step": 0.3},
        {"drift": ["seasonal"], "period": [5, 20]},
        {"drift": ["stationary", "abrupt", "gradual", "seasonal"], "changes": [1, 2]},
        {"law": ["gaussian"], "noise": 0.4},
    ],
    ids=str,
)
def test_particles_agree_within_their_error(options: dict[str, Any]) -> None:
    prior, played = games(12, arms=[3], horizon=[8], **options)
    generator, rng = DriftGenerator(contexts="basic", arms=[3], horizon=[8], **options), np.random.default_rng(4)
    scenario = generator.draw(rng)
    paths_P_T_A = np.array([generator.draw_means(scenario, rng) for _ in range(10_000)])
    errors = []
    for _, actions_T, rewards_T in played:
        estimate = particle_regret(prior, paths_P_T_A, actions_T, rewards_T, 5.0)
        error = drift_regret(prior, actions_T, rewards_T, 3, 5.0) - estimate.score
        assert estimate.effective > 100 and abs(error) < 0.3
        errors.append(error / estimate.standard_error)
    assert max(map(abs, errors)) < 4 and np.sqrt(np.mean(np.square(errors))) < 1.7


@pytest.mark.parametrize(
    "options", [{"arms": [5], "horizon": [60]}, {"arms": [5], "horizon": [30]} | PRECISE], ids=["long", "precise"]
)
def test_its_mean_is_the_true_regret_where_particles_fail(options: dict[str, Any]) -> None:
    prior, played = games(80, **options)
    differences = []
    for truth_T_A, actions_T, rewards_T in played:
        true = (truth_T_A.max(axis=1) - truth_T_A[np.arange(len(actions_T)), actions_T]).sum()
        differences.append(drift_regret(prior, actions_T, rewards_T, 5) - true)
    assert abs(np.mean(differences)) < 3.5 * np.std(differences) / 80**0.5


def test_rounds_without_an_action_count_as_uniform_play() -> None:
    prior = Prior(**HALF, kinds=("gradual",), step=0.2)  # type: ignore[arg-type]
    nothing = np.array([-1, -1]), np.array([np.nan, np.nan])
    assert drift_regret(prior, *nothing, 2) == pytest.approx(2 * (2 / 3 - 1 / 2), abs=5e-3)


@pytest.mark.parametrize("wrong", [{"kinds": ("abrupt",)}, {"kinds": ("odd",)}, {"kinds": ("gradual",)}])
def test_a_drift_without_its_numbers_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kinds"):
        Prior(**HALF, **wrong)
