from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest
from six_policies import POLICIES, by_arms, play, true_regret
from toy_bandit import toy_trajectory

from env_plugins.mab.generator import BanditGenerator
from env_plugins.nsmab.generator import DriftGenerator
from rmft_verl.algo import posterior
from rmft_verl.algo.particles import particle_regret, score_by_particles
from rmft_verl.algo.posterior import Prior, beliefs, posterior_regret, score
from rmft_verl.types import Oracle, StopReason, Trajectory, Turn

UNIT = Prior("bernoulli", 0.0, 1.0)


def arrays(*values: float) -> np.ndarray:
    return np.array(values)


def joint_grid(prior: Prior, plays_A: np.ndarray, sums_A: np.ndarray, cells: int) -> tuple[float, np.ndarray]:
    """E[max] and E[mu_a] summed over all combinations of cell middles; cells cut in two by the gap count half."""
    n_arms, step = len(plays_A), (prior.high - prior.low) / cells
    x = prior.low + step * (np.arange(cells) + 0.5)
    index = np.indices((cells,) * n_arms)
    best, second = np.sort(index, axis=0)[[-1, -2]]
    gap = round(prior.min_gap / step)
    assert gap * step == pytest.approx(prior.min_gap)
    weight = np.where(best - second > gap, 1.0, np.where(best - second == gap, 0.5, 0.0)) if gap else np.ones_like(best)
    for a in range(n_arms):
        if prior.law == "gaussian":
            density = np.exp(-plays_A[a] * (x - sums_A[a] / max(plays_A[a], 1)) ** 2 / (2 * prior.noise**2))
        else:
            density = x ** sums_A[a] * (1 - x) ** (plays_A[a] - sums_A[a])
        weight = weight * density.reshape([-1 if a == axis else 1 for axis in range(n_arms)])
    weight /= weight.sum()
    return float((weight * x[best]).sum()), np.array([(weight * x[index[a]]).sum() for a in range(n_arms)])


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("law", ["bernoulli", "gaussian"])
@pytest.mark.parametrize(
    ("plays", "sums", "cells", "within"),
    [((0, 0), (0, 0), 400, 4e-6), ((5, 3), (4, 1), 400, 8e-6), ((3, 6, 2), (2, 3, 2), 80, 2e-4)],
)
def test_beliefs_equal_sums_over_a_dense_joint_grid(
    law: str, gap: float, plays: tuple[int, ...], sums: tuple[int, ...], cells: int, within: float
) -> None:
    prior = Prior(law, 0.1, 0.9, gap, noise=0.5 if law == "gaussian" else 0.0)
    best, means_A = beliefs(prior, arrays(*plays), arrays(*sums))
    expected_best, expected_means_A = joint_grid(prior, arrays(*plays), arrays(*sums), cells)
    assert best == pytest.approx(expected_best, abs=within)
    assert means_A == pytest.approx(expected_means_A, abs=within)


def test_before_the_first_round_means_of_the_unit_interval() -> None:
    # E max of two uniforms is 2/3, of K it is K / (K + 1).
    assert posterior_regret(UNIT, arrays(0).astype(int), arrays(1.0), 2) == pytest.approx(2 / 3 - 1 / 2)
    assert beliefs(UNIT, np.zeros(5), np.zeros(5))[0] == pytest.approx(5 / 6)


def test_after_a_win_by_hand() -> None:
    # Arm 0 has density 2x now: mean 2/3, E max = int x d(x^2 x) = 3/4. The other arm has mean 1/2.
    wins = arrays(1.0, 0.0)
    assert posterior_regret(UNIT, np.array([0, 0]), wins, 2) == pytest.approx(1 / 6 + 3 / 4 - 2 / 3)
    assert posterior_regret(UNIT, np.array([0, 1]), wins, 2) == pytest.approx(1 / 6 + 3 / 4 - 1 / 2)


def test_the_continuation_adds_h_times_what_is_still_in_doubt() -> None:
    # After that win the better-looking arm is 3/4 - 2/3 short of the best in expectation.
    for further in (0, 1, 60):
        value = posterior_regret(UNIT, np.array([0]), arrays(1.0), 2, further)
        assert value == pytest.approx(1 / 6 + further / 12)


def test_a_gap_of_a_half_by_hand() -> None:
    # Best y in [1/2, 1] with the other uniform below y - 1/2: Z = 1/4, E max = 5/6, and E min = 1/6 by symmetry.
    best, means_A = beliefs(Prior("bernoulli", 0.0, 1.0, 0.5), np.zeros(2), np.zeros(2))
    assert best == pytest.approx(5 / 6) and means_A == pytest.approx([1 / 2, 1 / 2])


def test_gaussian_arms_far_from_the_bounds_follow_clarks_formula() -> None:
    prior = Prior("gaussian", -10.0, 10.0, noise=1.0)
    best, means_A = beliefs(prior, arrays(25, 25), arrays(25.0, 30.0))
    width, unit = 0.2 * 2**0.5, NormalDist()  # two posteriors of standard deviation 1 / sqrt(25)
    shift = 0.2 / width
    assert means_A == pytest.approx([1.0, 1.2], abs=1e-9)
    assert best == pytest.approx(1.0 * unit.cdf(-shift) + 1.2 * unit.cdf(shift) + width * unit.pdf(shift), abs=1e-9)


def test_an_arm_known_to_be_best_has_no_regret_left() -> None:
    actions_T, rewards_T = np.zeros(400, dtype=int), np.ones(400)
    first_half = posterior_regret(Prior("bernoulli", 0.1, 0.9, 0.1), actions_T[:200], rewards_T[:200], 3)
    whole = posterior_regret(Prior("bernoulli", 0.1, 0.9, 0.1), actions_T, rewards_T, 3)
    assert 0 <= whole - first_half < 1e-6 < first_half


def test_many_plays_at_once_equal_one_at_a_time_and_unplayed_rounds_are_uniform() -> None:
    rng = np.random.default_rng(0)
    prior = Prior("bernoulli", 0.1, 0.9, 0.1)
    actions_N_T = rng.integers(-1, 3, (6, 8))
    rewards_N_T = np.where(actions_N_T < 0, np.nan, rng.integers(0, 2, (6, 8)))
    together = posterior_regret(prior, actions_N_T, rewards_N_T, 3, 5.0)
    assert together.shape == (6,)
    alone = [posterior_regret(prior, a, r, 3, 5.0) for a, r in zip(actions_N_T, rewards_N_T, strict=True)]
    assert together == pytest.approx(np.array(alone), abs=1e-12)
    each_arm = [posterior_regret(UNIT, np.array([0, arm]), arrays(1.0, 0.0), 3) for arm in range(3)]
    unplayed = posterior_regret(UNIT, np.array([0, -1]), arrays(1.0, np.nan), 3)
    assert unplayed == pytest.approx(np.mean(each_arm))


@pytest.mark.parametrize("law", ["bernoulli", "gaussian"])
def test_a_finer_grid_changes_nothing(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    prior = Prior(law, 0.1, 0.9, 0.1, noise=0.3 if law == "gaussian" else 0.0)
    scenarios = [BanditGenerator(arms=[4]).draw(rng) for _ in range(50)]
    means_N_A = by_arms(scenarios)[4]
    actions_N_T, rewards_N_T = play(np.arange(50) % 6, means_N_A, 40, rng, prior.noise)
    coarse = posterior_regret(prior, actions_N_T, rewards_N_T, 4, 20.0)
    nodes = posterior._nodes
    monkeypatch.setattr(posterior, "_nodes", lambda *arguments: 2 * nodes(*arguments) + 1)
    assert np.abs(posterior_regret(prior, actions_N_T, rewards_N_T, 4, 20.0) - coarse).max() < 1e-8


@pytest.mark.parametrize(("noise", "horizon", "n"), [(0.0, 20, 2000), (0.5, 8, 1000)])
def test_the_tower_property_posterior_and_true_regret_have_one_mean(noise: float, horizon: int, n: int) -> None:
    rng = np.random.default_rng(2)
    prior = Prior("gaussian" if noise else "bernoulli", 0.1, 0.9, 0.1, noise)
    for kind, name in enumerate(POLICIES):
        true, expected = [], []
        for arms, means_N_A in by_arms([BanditGenerator().draw(rng) for _ in range(n)]).items():
            actions_N_T, rewards_N_T = play(np.full(len(means_N_A), kind), means_N_A, horizon, rng, noise)
            true += [true_regret(actions_N_T, means_N_A)]
            plays = zip(np.array_split(actions_N_T, 40), np.array_split(rewards_N_T, 40), strict=True)
            expected += [posterior_regret(prior, actions, rewards, arms) for actions, rewards in plays]
        true_N, expected_N = np.concatenate(true), np.concatenate(expected)
        difference_N = expected_N - true_N
        assert abs(difference_N.mean()) < 3.5 * difference_N.std() / n**0.5, name
        assert expected_N.std() < 0.75 * true_N.std(), name


def test_without_the_gap_the_score_would_be_biased() -> None:
    rng = np.random.default_rng(3)
    means_N_A = by_arms([BanditGenerator(arms=[3], min_gap=0.3).draw(rng) for _ in range(1000)])[3]
    actions_N_T, rewards_N_T = play(np.zeros(1000, dtype=int), means_N_A, 3, rng)
    true = true_regret(actions_N_T, means_N_A)
    for gap, unbiased in ((0.3, True), (0.0, False)):
        difference = posterior_regret(Prior("bernoulli", 0.1, 0.9, gap), actions_N_T, rewards_N_T, 3) - true
        assert (abs(difference.mean()) < 3.5 * difference.std() / 1000**0.5) == unbiased


def test_score_reads_a_trajectory() -> None:
    won = toy_trajectory([0.2, 0.8], [0, 1], [1.0, 0.0])
    assert score(won, UNIT) == pytest.approx(1 / 6 + 1 / 4)
    stopped = toy_trajectory([0.2, 0.8], [0], [1.0], horizon=2, stop=StopReason.LENGTH)
    assert score(stopped, UNIT) == pytest.approx(1 / 6 + (1 / 12 + 1 / 4) / 2)
    refused = dataclasses.replace(stopped, turns=(*stopped.turns, Turn((), "?", None, None, False)))
    assert score(refused, UNIT) == score(stopped, UNIT)
    assert score(stopped, UNIT, further=2) == pytest.approx(1 / 6 + (1 / 12 + 1 / 4) / 2 + 2 / 12)


def test_the_score_does_not_depend_on_the_truth() -> None:
    one, other = (toy_trajectory(means, [0, 1, 1], [1.0, 0.0, 1.0]) for means in ([0.2, 0.8], [0.8, 0.2]))
    assert one.regret != other.regret
    assert score(one, UNIT) == score(other, UNIT)


def test_a_failed_episode_is_not_scored() -> None:
    scenario = toy_trajectory([0.2, 0.8], [0]).scenario
    failed = Trajectory(scenario, "x", (), Oracle(np.full((1, 2), np.nan), "none"), StopReason.ERROR, 0, 0)
    assert score(failed, UNIT) is None and score_by_particles(failed, UNIT, np.zeros((1, 1, 2))) is None


def test_full_information_is_refused() -> None:
    revealed = toy_trajectory([0.2, 0.8], [(0.5, 0.5)])
    with pytest.raises(ValueError, match="no luck to remove"):
        score(revealed, UNIT)
    external = dataclasses.replace(toy_trajectory([0.2, 0.8], [0]), oracle=Oracle(np.zeros((1, 2)), "external"))
    with pytest.raises(ValueError, match="reveals all rewards"):
        score_by_particles(external, UNIT, np.zeros((1, 1, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"law": "heavy_tailed"}, "knows no law='heavy_tailed'"),
        ({"low": 0.9, "high": 0.1}, "must be below"),
        ({"min_gap": 0.9}, "min_gap=0.9"),
        ({"min_gap": -0.1}, "min_gap=-0.1"),
        ({"high": 1.2}, "within 0 and 1"),
        ({"law": "gaussian"}, "above 0"),
    ],
)
def test_an_impossible_prior_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prior(**({"law": "bernoulli", "low": 0.1, "high": 0.9} | options))  # type: ignore[arg-type]


def test_rewards_that_contradict_the_gap_are_refused() -> None:
    prior = Prior("gaussian", 0.0, 1.0, 0.5, noise=0.1)
    with pytest.raises(ValueError, match="contradict min_gap"):
        beliefs(prior, arrays(200, 200), arrays(100.0, 100.0))


def test_drifting_means_need_particles() -> None:
    with pytest.raises(ValueError, match="particle_regret"):
        score(toy_trajectory([0.2, 0.8], [0]), Prior("bernoulli", 0.1, 0.9, drifts=True))


def test_two_particles_by_hand() -> None:
    # Means (0.8, 0.2) or (0.2, 0.8), as likely; arm 0 pays: the first is 4 times as likely as the second.
    paths_P_T_A = np.array([[[0.8, 0.2]] * 2, [[0.2, 0.8]] * 2])
    prior = Prior("bernoulli", 0.1, 0.9, drifts=True)
    estimate = particle_regret(prior, paths_P_T_A, np.array([0, 0]), arrays(1.0, 0.0))
    assert estimate.score == pytest.approx(0.6 / 2 + 0.6 / 5)
    assert estimate.effective == pytest.approx(1 / (0.8**2 + 0.2**2))  # after round 1; after round 2 both are even
    continued = particle_regret(prior, paths_P_T_A[:, :1], np.array([0]), arrays(1.0), further=10)
    assert continued.score == pytest.approx(0.6 / 2 + 10 * 0.6 / 5)
    with pytest.raises(ValueError, match="2 rounds for a horizon of 1"):
        particle_regret(prior, paths_P_T_A, np.array([0]), arrays(1.0))


def test_particles_agree_with_the_exact_score_within_their_error() -> None:
    rng = np.random.default_rng(4)
    prior = Prior("bernoulli", 0.1, 0.9, 0.1)
    generator = BanditGenerator(arms=[3])
    paths_P_T_A = np.stack([np.tile(generator._means(3, rng), (12, 1)) for _ in range(8000)])
    means_N_A = by_arms([generator.draw(rng) for _ in range(24)])[3]
    actions_N_T, rewards_N_T = play(np.arange(24) % 6, means_N_A, 12, rng)
    exact = posterior_regret(prior, actions_N_T, rewards_N_T, 3, 5.0)
    estimates = [particle_regret(prior, paths_P_T_A, *pair, 5.0) for pair in zip(actions_N_T, rewards_N_T, strict=True)]
    errors = [(e.score - x) / e.standard_error for e, x in zip(estimates, exact, strict=True)]
    assert max(map(abs, errors)) < 4 and min(e.effective for e in estimates) > 50
    assert 0.3 < np.sqrt(np.mean(np.square(errors))) < 1.7


def test_particles_of_drifting_arms_are_unbiased() -> None:
    rng = np.random.default_rng(5)
    generator = DriftGenerator(arms=[3], horizon=[15], contexts="basic")
    paths_P_T_A = np.array([generator.draw(rng).game["means"] for _ in range(3200)])
    truths_N_T_A, paths_P_T_A = paths_P_T_A[:200], paths_P_T_A[200:]
    prior = Prior("bernoulli", 0.1, 0.9, drifts=True)
    differences = []
    for truth_T_A in truths_N_T_A:
        # Win-stay, lose-shift: its arms depend on what they paid.
        actions_T, rewards_T = np.zeros(15, dtype=int), np.zeros(15)
        for t in range(15):
            actions_T[t] = actions_T[t - 1] if t and rewards_T[t - 1] else rng.integers(3)
            rewards_T[t] = rng.random() < truth_T_A[t, actions_T[t]]
        true = (truth_T_A.max(axis=1) - truth_T_A[np.arange(15), actions_T]).sum()
        differences.append(particle_regret(prior, paths_P_T_A, actions_T, rewards_T).score - true)
    assert abs(np.mean(differences)) < 3.5 * np.std(differences) / 200**0.5
