from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from rmft_verl.play import Player
from rmft_verl.players import PLAYERS, make_player
from rmft_verl.players.arms import Arms, argmax
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.players.scripted import Scripted
from rmft_verl.types import Action, GameSpec, Observation, Reply

BERNOULLI = GameSpec(n_actions=3, horizon=50, reward_law="bernoulli", reward_scale=0.5)
NOISY = GameSpec(n_actions=3, horizon=50, reward_law="gaussian", reward_scale=2.0)


def first(spec: GameSpec) -> Observation:
    return Observation((), spec, 0)


def after(spec: GameSpec, turn: int, arm: int, reward: float) -> Observation:
    feedback_A = np.full(spec.n_actions, np.nan)
    feedback_A[arm] = reward
    return Observation((), spec, turn, arm, feedback_A)


def answer(player: Player, observation: Observation) -> Reply:
    return asyncio.run(player.act(observation))


def choice(name: str, spec: GameSpec, history: Sequence[tuple[int, float]], seed: int = 0) -> Action | None:
    """What the player does after rounds it is told it played, whatever it chose in them."""

    async def listen() -> Action | None:
        player = make_player(name, np.random.default_rng(seed))
        reply = await player.act(first(spec))
        for turn, (arm, reward) in enumerate(history, start=1):
            reply = await player.act(after(spec, turn, arm, reward))
        return reply.action

    return asyncio.run(listen())


def choices(name: str, spec: GameSpec, history: Sequence[tuple[int, float]], n: int = 300) -> dict[int, float]:
    """Share of each arm over seeds."""
    chosen = [choice(name, spec, history, seed) for seed in range(n)]
    return {arm: chosen.count(arm) / n for arm in range(spec.n_actions)}


def test_the_players_have_the_names_they_are_listed_under() -> None:
    assert {name: make_player(name, np.random.default_rng(0)).name for name in PLAYERS} == {n: n for n in PLAYERS}
    assert list(PLAYERS) == ["uniform", "greedy", "ucb1", "thompson"]


def test_an_unknown_player_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"player 'ucb2' is unknown\. Known: uniform, greedy, ucb1, thompson"):
        make_player("ucb2", np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(PLAYERS))
@pytest.mark.parametrize("spec", [BERNOULLI, NOISY])
def test_a_reply_is_an_arm_index_without_words(name: str, spec: GameSpec) -> None:
    reply = answer(make_player(name, np.random.default_rng(0)), first(spec))
    assert type(reply.action) is int and 0 <= reply.action < 3
    assert (reply.text, reply.cut, reply.exhausted) == ("", False, False)


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_play_is_a_function_of_the_generator(name: str) -> None:
    history = [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert [choice(name, BERNOULLI, history, 3) for _ in range(3)] == [choice(name, BERNOULLI, history, 3)] * 3


@pytest.mark.parametrize("name", ["uniform", "greedy", "ucb1", "thompson"])
def test_the_first_arm_is_random(name: str) -> None:
    assert all(0.23 < share < 0.44 for share in choices(name, BERNOULLI, []).values())  # 1/3 +- 4 standard errors


@pytest.mark.parametrize("name", ["greedy", "ucb1"])
def test_every_arm_is_tried_once_before_any_is_repeated_in_random_order(name: str) -> None:
    shares = choices(name, BERNOULLI, [(1, 1.0)])
    assert shares[1] == 0 and 0.38 < shares[0] < 0.62
    assert choices(name, BERNOULLI, [(1, 1.0), (0, 1.0)], n=20) == {0: 0, 1: 0, 2: 1}


def test_uniform_ignores_what_it_sees() -> None:
    shares = choices("uniform", BERNOULLI, [(0, 1.0), (1, 0.0), (2, 0.0)])
    assert all(0.23 < share < 0.44 for share in shares.values())


def test_greedy_follows_the_best_mean_and_not_the_best_sum() -> None:
    # Arm 0: 2 of 4. Arm 1: 1 of 1. Arm 2: 0 of 1.
    history = [(0, 1.0), (0, 1.0), (0, 0.0), (0, 0.0), (1, 1.0), (2, 0.0)]
    assert choices("greedy", BERNOULLI, history, n=20) == {0: 0, 1: 1, 2: 0}


def test_greedy_breaks_ties_at_random() -> None:
    shares = choices("greedy", BERNOULLI, [(0, 1.0), (1, 1.0), (2, 0.0)])
    assert shares[2] == 0 and 0.38 < shares[0] < 0.62


def test_ucb1_adds_the_published_bonus() -> None:
    # Indices after arm 0 (mean 1, n = 4): 1 + 1/2 = 1.5; arm 1 (mean 0.5, n = 2): 0.5 + 0.707 = 1.207;
    # arm 2 (mean 0, n = 1): 0 + 1 = 1.
    history = [(0, 1.0)] * 4 + [(1, 1.0), (1, 0.0), (2, 0.0)]
    assert choices("ucb1", BERNOULLI, history, n=20) == {0: 1, 1: 0, 2: 0}
    # Arm 0 falls to 4/8 + 1/sqrt(8) = 0.854, so arm 1 leads with 1.207.
    assert choices("ucb1", BERNOULLI, history + [(0, 0.0)] * 4, n=20) == {0: 0, 1: 1, 2: 0}


def test_ucb1_has_no_log_factor() -> None:
    # Arm 2 has index 1 for ever; with sqrt(log t / n) it would be sqrt(log 47) = 1.96 and win.
    history = [(0, 1.0)] * 44 + [(1, 0.0), (2, 0.0)]
    assert choices("ucb1", BERNOULLI, history, n=20) == {0: 1, 1: 0, 2: 0}  # 1 + 1/sqrt(44) = 1.15


def test_ucb1_scales_its_bonus_with_the_noise() -> None:
    # sd 2: bonus 4/sqrt(n). Arm 0: 3 + 4/2 = 5; arms 1 and 2: 0 + 4 = 4. With sd 0.5 likewise: 3.5 > 1.
    history = [(0, 3.0)] * 4 + [(1, 0.0), (2, 0.0)]
    assert choices("ucb1", NOISY, history, n=20) == {0: 1, 1: 0, 2: 0}
    # Mean 1: 1 + 2 = 3 < 4 at sd 2, but 1 + 0.5 = 1.5 > 1 at sd 0.5.
    history = [(0, 1.0)] * 4 + [(1, 0.0), (2, 0.0)]
    assert choices("ucb1", NOISY, history, n=20)[0] == 0
    assert choices("ucb1", dataclasses.replace(NOISY, reward_scale=0.5), history, n=20)[0] == 1


def test_thompson_matches_the_beta_posterior() -> None:
    two = dataclasses.replace(BERNOULLI, n_actions=2)
    # Beta(2, 1) against Beta(1, 2): P(first is larger) = 5/6.
    assert choices("thompson", two, [(0, 1.0), (1, 0.0)], n=600)[0] == pytest.approx(5 / 6, abs=0.06)
    # Beta(11, 11) against the prior Beta(1, 1): 1/2.
    assert choices("thompson", two, [(0, 1.0), (0, 0.0)] * 10, n=600)[0] == pytest.approx(1 / 2, abs=0.08)


def test_thompson_matches_the_normal_posterior() -> None:
    two = dataclasses.replace(NOISY, n_actions=2)
    # N(10, 4/16) against N(9.5, 4/16): the difference is N(0.5, 0.5), positive with probability Phi(0.707) = 0.760.
    history = [(0, 10.0), (1, 9.5)] * 16
    assert choices("thompson", two, history, n=600)[0] == pytest.approx(0.760, abs=0.07)


def test_thompson_with_a_flat_prior_tries_every_arm_wherever_the_rewards_lie() -> None:
    assert choices("thompson", NOISY, [(1, 1000.0)])[1] == 0
    assert choices("thompson", NOISY, [(1, -1000.0), (0, 1000.0)], n=20) == {0: 0, 1: 0, 2: 1}


def test_thompson_refuses_a_law_it_has_no_posterior_for() -> None:
    player = make_player("thompson", np.random.default_rng(0))
    with pytest.raises(ValueError, match="bernoulli and gaussian, not 'poisson'"):
        answer(player, first(dataclasses.replace(BERNOULLI, reward_law="poisson")))


@pytest.mark.parametrize("name", ["greedy", "ucb1", "thompson"])
def test_bandit_players_refuse_full_information(name: str) -> None:
    with pytest.raises(ValueError, match="plays bandits"):
        answer(
            make_player(name, np.random.default_rng(0)), first(dataclasses.replace(BERNOULLI, full_information=True))
        )


def test_the_oracle_plays_the_best_arm_of_each_round() -> None:
    oracle = OraclePlayer(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]]))
    spec = dataclasses.replace(BERNOULLI, n_actions=2)
    actions = [answer(oracle, dataclasses.replace(first(spec), turn=turn)).action for turn in range(3)]
    assert oracle.name == "oracle" and actions == [1, 0, 1]


def test_scripted_says_its_lines_and_then_has_no_room() -> None:
    player = Scripted(["Action: red", 2, (0.5, 0.5)])
    assert [answer(player, first(BERNOULLI)) for _ in range(4)] == [
        Reply(text="Action: red"),
        Reply(action=2),
        Reply(action=(0.5, 0.5)),
        Reply(exhausted=True),
    ]


def test_arms_count_and_add_up() -> None:
    arms = Arms()
    arms.see(first(BERNOULLI))
    assert arms.means_A.tolist() == [np.inf, np.inf, np.inf]
    for turn, (arm, reward) in enumerate([(1, 1.0), (1, 0.0), (2, 3.0)], start=1):
        arms.see(after(BERNOULLI, turn, arm, reward))
    assert arms.counts_A.tolist() == [0, 2, 1] and arms.sums_A.tolist() == [0, 1, 3]
    assert arms.means_A.tolist() == [np.inf, 0.5, 3.0]


def test_argmax_needs_no_draw_where_there_is_no_tie() -> None:
    rng = np.random.default_rng(0)
    assert argmax(np.array([1.0, 3.0, 2.0]), rng) == 1
    assert rng.random() == np.random.default_rng(0).random()
