"""tests/experiments/round_imitator.py: its habits are those of the bases, and its fit finds a policy again."""

import numpy as np
import round_imitator as lab

from rmft_verl.labs.tiny.habits import SUMMARY_HABITS, Memory


def test_a_proposal_is_what_the_habit_plays() -> None:
    rng = np.random.default_rng(0)
    tries_N_A = rng.integers(0, 9, (300, 3)).astype(float)
    wins_N_A = rng.binomial(tries_N_A.astype(int), 0.3).astype(float)
    said_N_H_A = lab.proposals(tries_N_A, wins_N_A)
    for tries_A, wins_A, said_H_A in zip(tries_N_A, wins_N_A, said_N_H_A, strict=True):
        memory = Memory(wins_A.tolist(), [int(count) for count in tries_A], last=0)
        rules = [SUMMARY_HABITS[name][2] for name in ("stick", "greedy", "commit")]
        assert said_H_A.argmax(axis=1).tolist() == [rule(memory)[0] for rule in rules if rule]


def test_a_fit_finds_the_policy_that_played() -> None:
    rng = np.random.default_rng(0)
    means_N_A = rng.uniform(0.1, 0.7, (400, 2))
    policy_F = np.zeros(18)
    policy_F[6] = 1.5  # the best average, e^1.5 to 1
    played = lab.choices(*lab.play(policy_F, means_N_A, rng), n_arms=2)
    found_F = lab.fit([played], np.zeros(18))
    truth_N_A, chances_N_A = (lab.probabilities(each, played[0]) for each in (policy_F, found_F))
    assert np.abs(truth_N_A - chances_N_A).mean() < 0.02
    assert np.abs(truth_N_A - 0.5).mean() > 0.3
