from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rmft_verl.types import Message, Oracle, Scenario, StopReason, Trajectory, Turn, content_hash

SCENARIO = Scenario("toy", 3, ("red", "blue"), "doors", {"means": [0.25, 0.75]})


def turn(action: int | None, parsed: bool = True, cut: bool = False) -> Turn:
    return Turn((Message("user", "pick"),), "red", action, 1.0, parsed, cut)


def trajectory(*turns: Turn, stop: StopReason = StopReason.COMPLETED) -> Trajectory:
    return Trajectory(SCENARIO, "scripted", turns, Oracle(np.ones((3, 2)), "pseudo"), stop, 1, 2)


def test_content_hash_is_the_start_of_the_sha256_of_canonical_json():
    # sha256 of {"a":[1,2.5],"b":"x"}
    assert content_hash({"b": "x", "a": [1, 2.5]}) == "5cefae54a95b31dc"
    with pytest.raises(ValueError):
        content_hash(float("nan"))


def test_scenario_ids_depend_on_content_alone():
    same = Scenario.from_json(SCENARIO.to_json())
    assert same == SCENARIO and same.id == SCENARIO.id
    reordered = dataclasses.replace(SCENARIO, game={"means": [0.75, 0.25]})
    assert reordered.id != SCENARIO.id and reordered.instance_id != SCENARIO.instance_id


def test_the_same_game_in_other_words_is_the_same_instance():
    retold = dataclasses.replace(SCENARIO, context="drugs", actions=("aspirin", "ibuprofen"))
    assert retold.id != SCENARIO.id
    assert retold.instance_id == SCENARIO.instance_id


def test_scenarios_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SCENARIO.horizon = 4  # type: ignore[misc]


def test_actions_are_padded_with_none_and_skip_turns_without_one():
    assert trajectory(turn(1), turn(None, parsed=False), turn(0)).actions_T == (1, 0, None)


@pytest.mark.parametrize(
    ("played", "stop", "valid"),
    [
        ([turn(0), turn(1), turn(1)], StopReason.COMPLETED, True),
        ([turn(0), turn(1, parsed=False), turn(1)], StopReason.COMPLETED, False),
        ([turn(0), turn(1, cut=True), turn(1)], StopReason.COMPLETED, False),
        ([turn(None, parsed=False, cut=True), turn(0), turn(1), turn(1)], StopReason.COMPLETED, True),  # repaired
        ([turn(None, parsed=False), turn(0, parsed=False), turn(1), turn(1)], StopReason.COMPLETED, False),
        ([turn(0), turn(None, parsed=False)], StopReason.INVALID, False),
        ([turn(0)], StopReason.LENGTH, False),
        ([turn(0)], StopReason.ERROR, False),
    ],
)
def test_validity(played, stop, valid):
    assert trajectory(*played, stop=stop).valid is valid


def test_messages_alternate_what_was_seen_and_what_was_said():
    assert trajectory(turn(0), turn(1)).messages == [("user", "pick"), ("assistant", "red")] * 2
