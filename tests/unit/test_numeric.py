"""The numerical track against what it must equal: the environments, the players, scipy, finite differences."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import optimize

from env_plugins.fol import FullInformationEnv
from env_plugins.mab import BanditEnv
from env_plugins.nsmab import DriftingBanditEnv
from rmft_verl.env.play import play_now
from rmft_verl.env.regret import REGRETS, score
from rmft_verl.labs.numeric import players, theory, updates
from rmft_verl.labs.numeric.decision_sets import project_ball, project_simplex
from rmft_verl.labs.numeric.games import lay_out, regret_curves
from rmft_verl.labs.numeric.growth import growth_rows, text
from rmft_verl.labs.numeric.models import CausalTransformer, SelfAttention, full_history
from rmft_verl.labs.numeric.plays import Plays, best_of, play, random_history, trajectories
from rmft_verl.players import make_player
from rmft_verl.players.scripted import Scripted

torch.set_num_threads(1)
ENVS = {"fol": FullInformationEnv, "mab": BanditEnv, "nsmab": DriftingBanditEnv}


def scenarios(env: str, n: int = 3, horizon: int = 12):
    size = {"actions": [3]} if env == "fol" else {"arms": [3]}
    generator = ENVS[env].Generator(horizon=[horizon], **size)
    rng = np.random.default_rng(1)
    return [generator.draw(rng) for _ in range(n)]


@pytest.mark.parametrize("env", ENVS)
def test_games_hold_the_draws_of_the_environment_itself(env):
    drawn = scenarios(env)
    games = lay_out(drawn, [5, 6, 7])
    for i, scenario in enumerate(drawn):
        corner = (0.0, 1.0, 0.0)
        action = corner if env == "fol" else 1
        played = play_now(ENVS[env], Scripted([action] * 12), scenario, reward_seed=5 + i, policy_seed=0)
        assert np.allclose([turn.reward for turn in played.turns], games.rewards_B_T_A[i, :, 1], atol=1e-6)
        assert np.allclose(played.oracle.expected_T_A, games.expected_B_T_A[i], atol=1e-6)
        assert played.oracle.kind == games.kind


@pytest.mark.parametrize("kind", REGRETS)
def test_regret_of_a_batch_is_the_regret_of_each(kind):
    rng = np.random.default_rng(0)
    expected, policies = rng.random((4, 9, 3)), rng.dirichlet(np.ones(3), (4, 9))
    earned = torch.tensor((policies * expected).sum(-1))
    curves = regret_curves(kind, earned, torch.tensor(expected))
    for i in range(4):
        actions = [tuple(row) for row in policies[i]]
        assert np.allclose(curves[i], REGRETS[kind](expected[i], actions))


@pytest.mark.parametrize("name", players.POLICIES)
def test_players_of_a_batch_play_as_the_players_do(name):
    (scenario,) = scenarios("fol", 1)
    games = lay_out([scenario], [0])
    ours = players.POLICIES[name](games.rewards_B_T_A, torch.Generator().manual_seed(0))[0].numpy()
    played = play_now(
        FullInformationEnv, make_player(name, np.random.default_rng(0)), scenario, reward_seed=0, policy_seed=0
    )
    assert np.allclose(ours, np.array(played.actions_T), atol=0.08 if name == "ftpl" else 1e-5)


def test_exp3_of_a_batch_has_the_regret_of_exp3():
    (scenario,) = scenarios("mab", 1, horizon=40)
    plays = players.play_exp3(lay_out([scenario] * 400, range(400)), torch.Generator().manual_seed(0))
    alone = [
        score(
            play_now(BanditEnv, make_player("exp3", np.random.default_rng(i)), scenario, reward_seed=i, policy_seed=i)
        )
        for i in range(150)
    ]
    theirs = np.array([one.regret for one in alone])
    ours = plays.regret_P_T[:, -1].numpy()
    assert abs(ours.mean() - theirs.mean()) < 3 * np.hypot(ours.std() / 20, theirs.std() / 150**0.5)


def nearest(point, *, simplex: bool):
    """The projection by a solver that knows nothing of ours."""
    n = len(point)
    if simplex:
        limits = {"bounds": [(0, 1)] * n, "constraints": {"type": "eq", "fun": lambda p: p.sum() - 1}}
        start = np.full(n, 1 / n)
    else:
        limits, start = {"constraints": {"type": "ineq", "fun": lambda p: 1 - p @ p}}, np.zeros(n)
    found = optimize.minimize(lambda p: ((p - point) ** 2).sum(), start, method="SLSQP", tol=1e-12, **limits)
    return found.x


def test_projections_are_those_of_scipy():
    points = np.random.default_rng(0).normal(0, 1.2, (12, 4))
    for project, simplex in ((project_simplex, True), (project_ball, False)):
        ours = project(torch.tensor(points)).numpy()
        assert np.allclose(ours, [nearest(point, simplex=simplex) for point in points], atol=1e-5)


@pytest.mark.parametrize("name", ["hedge", "ftrl_l2", "ball"])
def test_closed_forms_of_ftrl_are_those_of_a_solver(name):
    rng = np.random.default_rng(2)
    rewards = torch.tensor(rng.random((1, 6, 3)))
    sums = players.past_sums(rewards)[0].numpy()
    if name == "ball":
        rate = 0.7
        ours, penalty = project_ball(rate * torch.tensor(sums)).numpy(), lambda p: (p @ p) / (2 * rate)
    else:
        ours = players.POLICIES[name](rewards, torch.Generator())[0].numpy()
        rate = {"hedge": players.hedge, "ftrl_l2": players.ftrl_l2}[name].rate(6, 3)
        entropy = lambda p: (p @ np.log(p + 1e-15)) / rate  # noqa: E731
        penalty = entropy if name == "hedge" else lambda p: (p @ p) / (2 * rate)
    for t in range(6):
        if name == "ball":
            limits = {"constraints": {"type": "ineq", "fun": lambda p: 1 - p @ p}}
        else:
            limits = {"bounds": [(1e-12, 1)] * 3, "constraints": {"type": "eq", "fun": lambda p: p.sum() - 1}}
        goal = lambda p, s=sums[t]: penalty(p) - p @ s  # noqa: E731
        found = optimize.minimize(goal, np.full(3, 1 / 3), method="SLSQP", tol=1e-13, **limits)
        assert np.allclose(ours[t], found.x, atol=2e-4)


@pytest.mark.parametrize("model", ["transformer", "softmax", "linear"])
def test_the_gradient_of_regret_loss_is_that_of_finite_differences(model):
    torch.manual_seed(0)
    net = (CausalTransformer(3, 3) if model == "transformer" else SelfAttention(3, 3, model)).double()
    for parameter in net.parameters():  # the last layer starts at zero, where other gradients vanish
        parameter.data += 0.1 * torch.randn_like(parameter)
    games = lay_out(scenarios("fol"), [0] * 3)
    rewards = games.rewards_B_T_A.double()

    def loss():
        policies = torch.softmax(net(full_history(rewards)), -1)
        return updates.soft_worst_case(regret_curves("external", (policies * rewards).sum(-1), rewards)[:, -1])

    loss().backward()
    rng, step, checked = np.random.default_rng(0), 1e-6, 0
    for parameter in net.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in rng.integers(flat.numel(), size=2):
            before = float(flat[i])
            sides = []
            for value in (before + step, before - step):
                flat[i] = value
                sides.append(float(loss().detach()))
            flat[i] = before
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(float(gradient[i]), rel=1e-4, abs=1e-8)
            checked += abs(float(gradient[i])) > 1e-6
    assert checked > 4


def test_regret_loss_is_between_the_mean_square_and_the_worst_square():
    regrets = torch.tensor([-3.0, 1.0, 2.0])
    assert float(updates.soft_worst_case(regrets, 0.0)) == pytest.approx(5 / 3)
    assert float(updates.soft_worst_case(regrets, 50.0)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "model", [CausalTransformer(3, 3), SelfAttention(3, 3, "softmax"), SelfAttention(3, 3, "linear")]
)
def test_a_decision_knows_only_the_past(model):
    games = lay_out(scenarios("fol"), [0] * 3)
    changed = games.rewards_B_T_A.clone()
    changed[:, 6:] = 1 - changed[:, 6:]
    torch.nn.init.normal_(model.read_out.weight) if isinstance(model, CausalTransformer) else None
    before, after = (model(full_history(rewards)) for rewards in (games.rewards_B_T_A, changed))
    assert torch.allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-3)


def test_an_untrained_transformer_plays_uniformly_and_noise_stays_for_a_play():
    games = lay_out(scenarios("fol"), [0] * 3)
    still = play(CausalTransformer(3, 3), games, 1, 0.0, torch.Generator().manual_seed(0))
    assert torch.allclose(still.policies_P_T_A, torch.tensor(1 / 3))
    moved = play(CausalTransformer(3, 3), games, 4, 1.0, torch.Generator().manual_seed(0)).policies_P_T_A
    assert moved.shape == (12, 12, 3)
    assert torch.allclose(moved, moved[:, :1].expand_as(moved)) and moved[:, 0].std(0).min() > 0.05


@pytest.mark.parametrize("env", ["fol", "mab"])
def test_plays_become_trajectories_with_their_regret(env):
    drawn = scenarios(env)
    features = 3 if env == "fol" else 6
    plays = play(CausalTransformer(features, 3), lay_out(drawn, [1, 2, 3]), 2, 1.0, torch.Generator().manual_seed(0))
    read = trajectories(plays, "model", 4)
    assert [one.scenario.id for one in read] == [s.id for s in drawn for _ in range(2)]
    for one in read:
        assert one.valid and one.policy_version == 4
        assert score(one).regret == pytest.approx(one.regret, abs=1e-4)


def test_the_lowest_of_each_game_are_kept():
    assert best_of(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]]), 2).tolist() == [1, 2, 5, 3]


def test_growth_of_a_player_that_always_errs_is_linear():
    """Regret after t rounds is t times a gap that differs by scenario and seed."""
    rows = []
    for seed in (1.0, 1.5):
        games = lay_out(scenarios("fol", 4), [0] * 4)
        rewards, wrong = torch.zeros_like(games.rewards_B_T_A), torch.zeros_like(games.rewards_B_T_A)
        rewards[..., 0] = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None] * seed
        wrong[..., 1] = 1
        same = [dataclasses.replace(s, game={**s.game, "sequence": "same"}) for s in games.scenarios]
        games = dataclasses.replace(games, scenarios=tuple(same), rewards_B_T_A=rewards, expected_B_T_A=rewards)
        rows.append(trajectories(Plays(games, rewards, wrong, None), "wrong"))
    (row,) = growth_rows({"wrong": rows})
    assert (row.family, row.horizon, row.player) == ("same", 12, "wrong")
    assert row.regret.value == pytest.approx(12 * 0.25 * 1.25) and row.regret.low < row.regret.value < row.regret.high
    assert row.slope.value == pytest.approx(1.0) and not row.slope_below_one
    assert row.late.value == pytest.approx(0.5)
    assert "| same | 12 | wrong | 3.75 [" in text([row])


def test_random_histories_show_some_arms_only():
    games = lay_out(scenarios("mab", 3, horizon=12), [0, 1, 2])
    history = random_history(games, torch.Generator().manual_seed(0))
    assert history.shape == (3, 12, 6) and not history[:, 0].any()
    assert torch.equal(history[:, 1:, :3].sum(-1), torch.ones(3, 11))


def test_the_rate_of_the_theorem_minimizes_the_squared_regret():
    games = theory.BallGames(3, 8, 1.5)
    losses = games.draw(200_000, torch.Generator().manual_seed(0)).double()
    earned = (-players.past_sums(losses) * losses).sum((1, 2))  # of rate 1; regret is rate x earned + best
    best = losses.sum(1).norm(dim=-1)
    assert games.rate == pytest.approx(-float((earned * best).mean() / (earned**2).mean()), rel=0.03)


def test_imitating_constant_habits_once_gives_the_theorems_direction_and_a_known_rate():
    """The best-fitting linear response to the kept noise is minus the past sums, at rate theorem x E[pull]."""
    games, spread = theory.BallGames(2, 10, 1.0), 0.2
    losses = games.draw(40_000, torch.Generator().manual_seed(0))
    still = SelfAttention(2, 2, "linear")
    for parameter in still.parameters():
        torch.nn.init.zeros_(parameter)
    raw = theory.by_play(still, losses, 16, spread, torch.Generator().manual_seed(1))
    many = losses.repeat_interleave(16, 0)
    regret = theory.ball_regret(raw.detach().reshape(-1, 10, 2), many).view(-1, 16)
    kept = raw.detach().reshape(-1, 10, 2)[best_of(regret, 4)].view(-1, 4, 10, 2).mean(1)
    sums = players.past_sums(losses)
    rate = -float((kept * sums).sum() / (sums * sums).sum())
    lowest = np.sort(np.random.default_rng(0).standard_normal((40_000, 16)), axis=1)[:, :4].mean()
    assert rate / games.rate == pytest.approx(-spread * lowest, rel=0.05)
