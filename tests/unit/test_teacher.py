from __future__ import annotations

import numpy as np
import pytest

from rmft_verl.algo.distill import teach
from rmft_verl.env import load_env
from rmft_verl.eval.algorithms import play_requests
from rmft_verl.types import RolloutRequest

GAMES = {
    "mab": ("ucb1", {"arms": [4], "horizon": [12]}),
    "nsmab": ("sw_ucb", {"arms": [3], "horizon": [12]}),
    "fol": ("hedge", {"actions": [3], "horizon": [12]}),
    "mixed": ("uniform", {"mab": {}, "fol": {}}),
}


def requests(name: str, options: dict[str, object]) -> list[RolloutRequest]:
    generator = load_env(name).Generator(**options)
    return [RolloutRequest(generator.draw(np.random.default_rng(i)), 10 + i, 20 + i) for i in range(6)]


@pytest.mark.parametrize("name", GAMES)
def test_a_teacher_says_what_is_played(name: str) -> None:
    player, options = GAMES[name]
    env_class = load_env(name)
    for play in teach(env_class, player, "dialogue", requests(name, options)):
        assert play.valid and play.player == player
        reader = env_class(play.scenario, 0)
        assert [reader.parse(turn.text) for turn in play.turns] == list(play.actions_T)


def test_it_plays_as_the_algorithm_plays() -> None:
    player, options = GAMES["mab"]
    asked = requests("mab", options)
    plain = play_requests(load_env("mab"), player, asked)
    taught = teach(load_env("mab"), player, "dialogue", asked)
    assert [play.actions_T for play in taught] == [play.actions_T for play in plain]


def test_shares_are_said_in_hundredths_that_sum_to_1() -> None:
    env_class = load_env("fol")
    env = env_class(env_class.Generator(actions=[3]).draw(np.random.default_rng(0)), 0)
    for shares in ((1 / 3, 1 / 3, 1 / 3), (0.996, 0.002, 0.002), (0.0, 1.0, 0.0), (0.005, 0.005, 0.99)):
        said = env.parse(env.say(shares))  # type: ignore[attr-defined]
        assert said is not None
        assert sum(said) == pytest.approx(1.0, abs=1e-12)
        assert np.abs(np.array(said) - shares).max() < 0.01


def test_with_one_prompt_a_round_each_turn_has_its_whole_prompt() -> None:
    player, options = GAMES["mab"]
    (play, *_) = teach(load_env("mab"), player, "summary", requests("mab", options))
    assert all(len(turn.messages) == 1 for turn in play.turns)
    assert "So far, after 11 rounds" in play.turns[-1].messages[0].content
