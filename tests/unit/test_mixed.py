"""Several environments in one training set."""

from __future__ import annotations

import numpy as np
import pytest

from env_plugins.mixed import MixedEnv, MixedGenerator
from rmft_verl.env import load_env
from rmft_verl.env.play import play_now
from rmft_verl.players import make_player

PARTS = {"mab": {"arms": [3], "horizon": [5]}, "fol": {"actions": [2], "horizon": [4]}}


def test_scenarios_come_from_every_part_and_are_played_as_there() -> None:
    generator = MixedGenerator(**PARTS)
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(400)]
    counts = {name: sum(scenario.env == name for scenario in scenarios) for name in PARTS}
    assert 150 < counts["mab"] < 250 and counts["mab"] + counts["fol"] == 400
    for scenario in scenarios[:20]:
        mixed, own = MixedEnv(scenario, 7), load_env(scenario.env)(scenario, 7)
        first = mixed.reset()
        assert [message.content for message in first.messages] == [message.content for message in own.reset().messages]
        assert first.spec.full_information == (scenario.env == "fol")


def test_a_play_is_scored_by_its_own_regret() -> None:
    generator, kinds = MixedGenerator(**PARTS), set()
    for seed in range(20):
        scenario = generator.draw(np.random.default_rng(seed))
        player = make_player("uniform", np.random.default_rng(seed))
        kinds.add((scenario.env, play_now(MixedEnv, player, scenario, reward_seed=1, policy_seed=1).oracle.kind))
    assert kinds == {("mab", "pseudo"), ("fol", "external")}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "no environments"),
        ({"mixed": {}}, "cannot hold itself"),
        ({"mab": 3}, r"mab=3 must be a mapping"),
        ({"mab": {"arms": [1]}}, r"mixed, mab: .*arms has 1"),
        ({"mab": {"wheels": 4}}, r"mixed, mab: .*wheels"),
    ],
)
def test_bad_options_are_one_clear_line(parts: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixedGenerator(**parts)  # type: ignore[arg-type]
