from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from rmft_verl.env.play import Player
from rmft_verl.players import BANDIT, CONTEXTUAL, FULL_INFORMATION, PLAYERS, can_play, make_player
from rmft_verl.players.arms import Arms, argmax
from rmft_verl.players.discounted_ucb import discount
from rmft_verl.players.exp3 import exploration
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.players.restarted_exp3 import RestartedEXP3
from rmft_verl.players.scripted import Scripted
from rmft_verl.players.sw_ucb import window
from rmft_verl.types import Action, GameSpec, Observation, Oracle, Reply

BERNOULLI = GameSpec(n_actions=3, horizon=50, reward_law="bernoulli", reward_scale=0.5)
NOISY = GameSpec(n_actions=3, horizon=50, reward_law="gaussian", reward_scale=2.0)
TWO = GameSpec(n_actions=2, horizon=50, reward_law="bernoulli", reward_scale=0.5)
REVEALED = GameSpec(n_actions=3, horizon=50, reward_law="bounded", reward_scale=0.5, full_information=True)


def first(spec: GameSpec) -> Observation:
    return Observation((), spec, 0)


def after(spec: GameSpec, turn: int, arm: int, reward: float) -> Observation:
    feedback_A = np.full(spec.n_actions, np.nan)
    feedback_A[arm] = reward
    return Observation((), spec, turn, arm, feedback_A)


def answer(player: Player, observation: Observation) -> Reply:
    return asyncio.run(player.act(observation))


async def told(name: str, spec: GameSpec, history: Sequence[tuple[int, float]], seed: int) -> Action | None:
    """What the player does after rounds it is told it played, whatever it chose in them."""
    player = make_player(name, np.random.default_rng(seed))
    reply = await player.act(first(spec))
    for turn, (arm, reward) in enumerate(history, start=1):
        reply = await player.act(after(spec, turn, arm, reward))
    return reply.action


def choice(name: str, spec: GameSpec, history: Sequence[tuple[int, float]], seed: int = 0) -> Action | None:
    return asyncio.run(told(name, spec, history, seed))


def choices(name: str, spec: GameSpec, history: Sequence[tuple[int, float]], n: int = 300) -> dict[int, float]:
    """Share of each arm over seeds."""

    async def all_told() -> list[Action | None]:
        return [await told(name, spec, history, seed) for seed in range(n)]

    chosen = asyncio.run(all_told())
    return {arm: chosen.count(arm) / n for arm in range(spec.n_actions)}


def test_the_players_have_the_names_they_are_listed_under() -> None:
    assert {name: make_player(name, np.random.default_rng(0)).name for name in PLAYERS} == {n: n for n in PLAYERS}
    assert list(PLAYERS) == ["uniform", *BANDIT, *CONTEXTUAL, *FULL_INFORMATION]


def test_an_unknown_player_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        ValueError, match=r"player 'ucb2' is unknown\. Known: uniform, greedy, eps_greedy, ucb1, .*ftpl"
    ):
        make_player("ucb2", np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(PLAYERS))
@pytest.mark.parametrize("law", ["bernoulli", "bounded", "gaussian", "heavy_tailed", "poisson"])
@pytest.mark.parametrize("full_information", [False, True])
def test_a_player_plays_what_it_is_said_to_play_and_refuses_the_rest(
    name: str, law: str, full_information: bool
) -> None:
    spec = GameSpec(3, 50, law, 0.5, full_information)
    player = make_player(name, np.random.default_rng(0))
    if not can_play(name, spec):
        with pytest.raises(ValueError, match=r"plays bandits|rewards of all actions|reward_law|reads contexts"):
            answer(player, first(spec))
        return
    reply = answer(player, first(spec))
    assert (reply.text, reply.cut, reply.exhausted) == ("", False, False)
    if full_information:
        assert isinstance(reply.action, tuple) and len(reply.action) == 3
        assert min(reply.action) >= 0 and sum(reply.action) == pytest.approx(1, abs=1e-12)
    else:
        assert type(reply.action) is int and 0 <= reply.action < 3


def test_bandit_players_and_full_information_players_are_different_players() -> None:
    assert [can_play(name, TWO) for name in ("uniform", "ucb1", "exp3", "hedge")] == [True, True, True, False]
    assert [can_play(name, REVEALED) for name in ("uniform", "ucb1", "exp3", "hedge")] == [True, False, False, True]
    assert [can_play(name, NOISY) for name in ("uniform", "ucb1", "exp3", "thompson")] == [True, True, False, True]


@pytest.mark.parametrize("name", ["uniform", *BANDIT])
def test_the_first_arm_is_random(name: str) -> None:
    assert all(0.23 < share < 0.44 for share in choices(name, BERNOULLI, []).values())  # 1/3 +- 4 standard errors


@pytest.mark.parametrize("name", ["greedy", "ucb1", "ucb1_auer", "sw_ucb", "discounted_ucb"])
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
    # Beta(2, 1) against Beta(1, 2): P(first is larger) = 5/6.
    assert choices("thompson", TWO, [(0, 1.0), (1, 0.0)], n=600)[0] == pytest.approx(5 / 6, abs=0.06)
    # Beta(11, 11) against the prior Beta(1, 1): 1/2.
    assert choices("thompson", TWO, [(0, 1.0), (0, 0.0)] * 10, n=600)[0] == pytest.approx(1 / 2, abs=0.08)


def test_thompson_matches_the_normal_posterior() -> None:
    two = dataclasses.replace(NOISY, n_actions=2)
    # N(10, 4/16) against N(9.5, 4/16): the difference is N(0.5, 0.5), positive with probability Phi(0.707) = 0.760.
    history = [(0, 10.0), (1, 9.5)] * 16
    assert choices("thompson", two, history, n=600)[0] == pytest.approx(0.760, abs=0.07)


def test_thompson_with_a_flat_prior_tries_every_arm_wherever_the_rewards_lie() -> None:
    assert choices("thompson", NOISY, [(1, 1000.0)])[1] == 0
    assert choices("thompson", NOISY, [(1, -1000.0), (0, 1000.0)], n=20) == {0: 0, 1: 0, 2: 1}


def test_thompson_turns_a_bounded_reward_into_a_win_by_a_coin() -> None:
    bounded = dataclasses.replace(TWO, reward_law="bounded")
    # Beta(2, 1) with probability 0.3, else Beta(1, 2): it beats the uniform prior with probability 0.3 2/3 + 0.7 1/3.
    assert choices("thompson", bounded, [(0, 0.3)], n=1000)[0] == pytest.approx(0.4333, abs=0.06)
    # Rewards of 0 and 1 leave nothing to the coin: Beta(2, 1) against Beta(1, 2) again.
    assert choices("thompson", bounded, [(0, 1.0), (1, 0.0)], n=600)[0] == pytest.approx(5 / 6, abs=0.06)


def test_thompson_takes_heavy_tails_for_gaussian() -> None:
    history = [(0, 3.0), (1, 2.0), (2, 2.5)] * 2
    heavy = dataclasses.replace(NOISY, reward_law="heavy_tailed")
    chosen = [[choice("thompson", spec, history, seed) for seed in range(50)] for spec in (NOISY, heavy)]
    assert chosen[0] == chosen[1] and len(set(chosen[0])) == 3


def test_a_refused_law_is_named_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="bernoulli, bounded, gaussian, heavy_tailed, not 'poisson': use ucb1"):
        choice("thompson", dataclasses.replace(BERNOULLI, reward_law="poisson"), [])
    with pytest.raises(ValueError, match=r"exp3 needs rewards within 0 and 1 .* not 'gaussian': use ucb1, sw_ucb or"):
        choice("exp3", NOISY, [])


def test_eps_greedy_is_greedy_nine_times_in_ten() -> None:
    shares = choices("eps_greedy", BERNOULLI, [(0, 1.0), (1, 0.0), (2, 0.0)], n=1000)
    assert shares[0] == pytest.approx(0.9 + 0.1 / 3, abs=0.03)
    assert shares[1] == pytest.approx(0.1 / 3, abs=0.025)


def test_ucb1_auer_has_the_log_factor() -> None:
    # t = 48: 1 + sqrt(2 log 48 / 44) = 1.420 against sqrt(2 log 48 / 4) = 1.391.
    assert choices("ucb1_auer", TWO, [(1, 0.0)] * 4 + [(0, 1.0)] * 44, n=10)[0] == 1
    # t = 64: 1 + sqrt(2 log 64 / 60) = 1.372 against sqrt(2 log 64 / 4) = 1.442.
    assert choices("ucb1_auer", TWO, [(1, 0.0)] * 4 + [(0, 1.0)] * 60, n=10)[1] == 1


def test_the_sliding_window_forgets() -> None:
    assert (window(1), window(20), window(100)) == (1, 16, 43)  # 2 sqrt(20 log 20) = 15.5, 2 sqrt(100 log 100) = 42.9
    short = dataclasses.replace(TWO, horizon=20)
    # With the loss of arm 0 in sight: sqrt(0.6 log 16 / 1) = 1.290 against 1 + sqrt(0.6 log 16 / 15) = 1.333.
    assert choices("sw_ucb", short, [(0, 0.0)] + [(1, 1.0)] * 15, n=10)[1] == 1
    # One round later it is out of sight and arm 0 is untried.
    assert choices("sw_ucb", short, [(0, 0.0)] + [(1, 1.0)] * 16, n=10)[0] == 1


def test_the_sliding_window_takes_back_what_it_has_added() -> None:
    short = dataclasses.replace(TWO, horizon=20)
    # Only the last 16 rounds count: arm 0 has 0 of 8 and arm 1 has 8 of 8, whatever was before.
    history = [(0, 1.0), (1, 0.0)] * 40 + [(0, 0.0), (1, 1.0)] * 8
    assert choices("sw_ucb", short, history, n=10)[1] == 1


def test_discounted_ucb_prefers_the_arm_that_paid_lately() -> None:
    assert discount(16) == 0.9375
    # Equal means without a discount. With it 5.317 / 7.21 = 0.737 and 0.263; the bonuses are 0.937 and 0.968.
    history = [(0, 1.0), (1, 0.0)] * 8 + [(0, 0.0), (1, 1.0)] * 8
    assert choices("discounted_ucb", dataclasses.replace(TWO, horizon=16), history, n=10)[1] == 1


def test_discounted_ucb_has_the_published_bonus() -> None:
    # Discount 0.9875. Arm 1 pays nothing in one pull, then arm 0 pays 1 in n pulls. n = 4: the discounted counts are
    # 3.926 and 0.951, 1 + 2 sqrt(0.6 log 4.877 / 3.926) = 1.984 against 2 sqrt(0.6 log 4.877 / 0.951) = 2.000.
    slow = dataclasses.replace(TWO, horizon=400)
    assert choices("discounted_ucb", slow, [(1, 0.0)] + [(0, 1.0)] * 4, n=10)[1] == 1
    # n = 3: 2.963 and 0.963, 1 + 2 sqrt(0.6 log 3.926 / 2.963) = 2.053 against 2 sqrt(0.6 log 3.926 / 0.963) = 1.847.
    assert choices("discounted_ucb", slow, [(1, 0.0)] + [(0, 1.0)] * 3, n=10)[0] == 1


def test_exp3_weighs_rewards_by_their_chance() -> None:
    assert exploration(20, 2) == pytest.approx(0.2009, abs=1e-4)  # sqrt(2 log 2 / (1.718 20))
    assert exploration(1, 5) == 1.0
    short = dataclasses.replace(TWO, horizon=20)
    gamma, log_weight, share = 0.20085, 0.0, 0.5
    for _ in range(10):  # arm 0 pays 1 ten times: its weight grows by exp(gamma / (2 share))
        log_weight += gamma / (2 * share)
        share = (1 - gamma) * math.exp(log_weight) / (math.exp(log_weight) + 1) + gamma / 2
    assert share == pytest.approx(0.7644, abs=1e-3)
    assert choices("exp3", short, [(0, 1.0)] * 10, n=1000)[0] == pytest.approx(share, abs=0.055)


def test_restarted_exp3_starts_afresh_and_exp3_does_not() -> None:
    long = dataclasses.replace(TWO, horizon=100)
    player = RestartedEXP3(np.random.default_rng(0))
    assert player.run_length(long) == 25  # (2 log 2 100^2)^(1/3) = 24.02
    assert player.run_length(dataclasses.replace(BERNOULLI, horizon=2)) == 2
    assert choices("restarted_exp3", long, [(0, 1.0)] * 24)[0] > 0.75
    assert choices("restarted_exp3", long, [(0, 1.0)] * 25)[0] == pytest.approx(0.5, abs=0.11)
    assert choices("exp3", long, [(0, 1.0)] * 25)[0] > 0.75


@pytest.mark.parametrize("name", [*BANDIT])
def test_bandit_players_refuse_full_information(name: str) -> None:
    with pytest.raises(ValueError, match="plays bandits"):
        answer(
            make_player(name, np.random.default_rng(0)), first(dataclasses.replace(BERNOULLI, full_information=True))
        )


def test_the_oracle_of_a_bandit_plays_the_best_arm_of_each_round() -> None:
    for kind in ("pseudo", "dynamic"):
        oracle = OraclePlayer(Oracle(np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]]), kind))
        actions = [answer(oracle, dataclasses.replace(first(TWO), turn=turn)).action for turn in range(3)]
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
    assert arms.means_A == [np.inf, np.inf, np.inf]
    for turn, (arm, reward) in enumerate([(1, 1.0), (1, 0.0), (2, 3.0)], start=1):
        arms.see(after(BERNOULLI, turn, arm, reward))
    assert arms.counts_A == [0, 2, 1] and arms.sums_A == [0, 1, 3]
    assert arms.means_A == [np.inf, 0.5, 3.0]
    assert arms.upper_bounds_A(2.0, 8.0) == [np.inf, 0.5 + 2 * 2, 3 + 2 * math.sqrt(8)]


def test_argmax_needs_no_draw_where_there_is_no_tie() -> None:
    rng = np.random.default_rng(0)
    assert argmax([1.0, 3.0, 2.0], rng) == 1
    assert rng.random() == np.random.default_rng(0).random()
