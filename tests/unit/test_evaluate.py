from __future__ import annotations

import json

import numpy as np
import pytest
from toy_bandit import ToyBandit, toy_scenario, toy_trajectory

from rmft_verl.evaluate import REFERENCES, episode_seeds, evaluate_players, summarize
from rmft_verl.types import Action, Oracle, StepResult, StopReason

SCENARIOS = [toy_scenario([0.1, 0.9], 20), toy_scenario([0.7, 0.2, 0.4], 20), toy_scenario([0.5, 0.6], 10)]


def test_every_player_plays_every_scenario_and_is_scored() -> None:
    sets = evaluate_players(ToyBandit, (*REFERENCES, "oracle"), SCENARIOS, episodes=2, seed=0)
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


def test_a_row_says_what_the_trajectories_say() -> None:
    plays = [
        toy_trajectory([0.0, 1.0], [0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]),
        toy_trajectory([0.0, 0.5], [0, 0, 0, 0], context="shop", parsed=False),
    ]
    (row,) = summarize({"model": plays}).rows
    assert (row.player, row.n_scenarios, row.n_episodes, row.n_failed) == ("model", 2, 2, 0)
    assert row.regret == 2.0  # 2 and 2
    assert row.normalized_regret.value == pytest.approx(4 / 3)  # uniform: 2 and 1
    assert row.suffix_failure == 0.5
    assert row.min_fraction == 0.5  # 1 and 0
    assert row.greedy_fraction == 1.0  # arm 1 is new in round 3 and best in round 4
    assert row.invalid_rate == 0.5


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
    with pytest.raises(ValueError, match=r"(?s)greedy: none of 1 episodes is scored.*the casino is closed"):
        summarize({"greedy": sets["greedy"][2:]})


def test_json_rows_are_flat_and_survive_json() -> None:
    one_scenario = summarize({"model": [toy_trajectory([0.0, 1.0], [0, 1])]}).to_json()
    assert one_scenario == [
        {
            "player": "model",
            "regret": 1.0,
            "normalized_regret": 1.0,
            "normalized_regret_low": None,
            "normalized_regret_high": None,
            "suffix_failure": 0.0,
            "min_fraction": 1.0,
            "greedy_fraction": 1.0,
            "invalid_rate": 0.0,
            "n_scenarios": 1,
            "n_episodes": 1,
            "n_failed": 0,
        }
    ]
    assert json.loads(json.dumps(one_scenario, allow_nan=False)) == one_scenario


def test_the_text_has_a_line_for_each_player() -> None:
    plays = [toy_trajectory([0.0, 1.0], [0, 1, 1, 1], context=str(i)) for i in range(3)]
    lines = summarize({"base": plays, "trained": plays * 2}).text().splitlines()
    base, trained = (next(line for line in lines if f" {name} " in line) for name in ("base", "trained"))
    assert [cell.strip() for cell in base.strip("│").split("│")] == [
        "base",
        "1.00",
        "0.500",
        "0.500–0.500",
        "0.00",
        "0.50",
        "1.00",
        "0.0%",
        "3×1",
    ]
    assert "3×2" in trained
    assert all(len(line) <= 110 for line in lines)


def test_a_game_that_drifts_has_its_own_oracle_player() -> None:
    class Drifting(ToyBandit):
        def oracle(self) -> Oracle:
            expected_T_A = super().oracle().expected_T_A.copy()
            expected_T_A[10:] = expected_T_A[10:, ::-1]
            return Oracle(expected_T_A, "pseudo")

    (play,) = evaluate_players(Drifting, ("oracle",), SCENARIOS[:1], episodes=1, seed=0)["oracle"]
    assert play.actions_T == (1,) * 10 + (0,) * 10
    assert np.isclose(play.regret or 0.0, 0.0)
