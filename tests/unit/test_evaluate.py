from __future__ import annotations

import numpy as np
import pytest
from toy_bandit import ToyBandit, toy_scenario

from rmft_verl.env.seeds import episode_seeds
from rmft_verl.eval.algorithms import REFERENCES, evaluate_players
from rmft_verl.eval.table import summarize
from rmft_verl.types import Action, Oracle, StepResult, StopReason

SCENARIOS = [toy_scenario([0.1, 0.9], 20), toy_scenario([0.7, 0.2, 0.4], 20), toy_scenario([0.5, 0.6], 10)]


def test_every_player_plays_every_scenario_and_is_scored() -> None:
    sets = evaluate_players(ToyBandit, (*REFERENCES["pseudo"], "oracle"), SCENARIOS, episodes=2, seed=0)
    assert list(sets) == ["uniform", "greedy", "ucb1", "thompson", "oracle"]
    for name, trajectories in sets.items():
        assert [play.scenario for play in trajectories] == [s for s in SCENARIOS for _ in range(2)]
        assert all(play.player == name and play.valid and play.regret is not None for play in trajectories)


def test_all_players_face_the_same_draws_and_no_two_episodes_do() -> None:
    sets = evaluate_players(ToyBandit, ("uniform", "ucb1", "oracle"), SCENARIOS, episodes=3, seed=5)
    seeds = [[play.reward_seed for play in trajectories] for trajectories in sets.values()]
    assert seeds[0] == seeds[1] == seeds[2]
    assert len(set(seeds[0])) == 9
    assert seeds[0] == [episode_seeds(5, i, episode)[0] for i in range(3) for episode in range(3)]


def test_an_evaluation_is_a_function_of_its_seed() -> None:
    def actions(seed: int) -> list[tuple[Action | None, ...]]:
        plays = evaluate_players(ToyBandit, ("thompson",), SCENARIOS, episodes=1, seed=seed)["thompson"]
        return [play.actions_T for play in plays]

    assert actions(0) == actions(0)
    assert actions(0) != actions(1)


def test_seeds_do_not_repeat_across_scenarios_episodes_and_purposes() -> None:
    seeds = [seed for i in range(20) for episode in range(20) for seed in episode_seeds(0, i, episode)]
    assert len(set(seeds)) == 800
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_the_oracle_has_no_regret_and_uniform_play_has_one() -> None:
    sets = evaluate_players(ToyBandit, ("oracle", "uniform"), SCENARIOS, episodes=200, seed=0)
    oracle, uniform = summarize(sets).rows
    assert oracle.normalized_regret == (0.0, 0.0, 0.0)
    # 600 episodes of 10 to 20 rounds: the standard error of uniform play's mean is below 0.01.
    assert uniform.normalized_regret.value == pytest.approx(1.0, abs=0.03)


def test_the_oracle_knows_the_game_it_plays_and_not_the_one_before() -> None:
    plays = evaluate_players(ToyBandit, ("oracle",), SCENARIOS, episodes=1, seed=0)["oracle"]
    assert [set(play.actions_T) for play in plays] == [{1}, {0}, {1}]


def test_an_unknown_player_stops_the_evaluation() -> None:
    with pytest.raises(ValueError, match="'psychic' is unknown"):
        evaluate_players(ToyBandit, ("psychic",), SCENARIOS, episodes=1, seed=0)


def test_failed_episodes_are_counted_and_nothing_else() -> None:
    class Broken(ToyBandit):
        def step(self, action: Action) -> StepResult:
            if self._scenario.horizon == 10:
                raise RuntimeError("the casino is closed")
            return super().step(action)

    sets = evaluate_players(Broken, ("oracle", "greedy"), SCENARIOS, episodes=1, seed=0)
    assert [play.stop_reason for play in sets["greedy"]][2] is StopReason.ERROR
    table = summarize(sets)
    assert [(row.n_scenarios, row.n_episodes, row.n_failed) for row in table.rows] == [(2, 3, 1), (2, 3, 1)]
    assert table.rows[0].normalized_regret.value == 0.0
    assert "(1 failed)" in table.text()


def test_a_game_that_drifts_has_its_own_oracle_player() -> None:
    class Drifting(ToyBandit):
        def oracle(self) -> Oracle:
            expected_T_A = super().oracle().expected_T_A.copy()
            expected_T_A[10:] = expected_T_A[10:, ::-1]
            return Oracle(expected_T_A, "pseudo")

    (play,) = evaluate_players(Drifting, ("oracle",), SCENARIOS[:1], episodes=1, seed=0)["oracle"]
    assert play.actions_T == (1,) * 10 + (0,) * 10
    assert np.isclose(play.regret or 0.0, 0.0)
