from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rmft_verl.store.places import RunDirError
from rmft_verl.store.trajectory_file import FORMAT, read_kept, read_trajectories, write_kept, write_trajectories
from rmft_verl.types import Message, Oracle, Scenario, StopReason, Tokens, Trajectory, Turn

BANDIT = Scenario("toy", 2, ("roß", "青"), "doors", {"means": [0.1, 1 / 3], "nested": {"on": True, "none": None}})
GAME = Scenario("game", 2, ("a", "b"), "rivals", {})


def trajectories() -> list[Trajectory]:
    seen = (Message("system", "Zwölf Türen.\r\n"), Message("user", "\ud800 lone, \x00 null"))
    tokens = Tokens(
        np.array([5, 151_643, 7], np.int32),
        np.array([0, 1, 1], np.int8),
        1,
        np.array([0.0, -0.1, np.nan], np.float32),
        {1: (9, 151_643), 2: (7, 8, 9)},
    )
    expected = np.array([[0.1, 1 / 3], [np.nan, -np.inf]])
    sampled = Trajectory(
        BANDIT,
        "model",
        (Turn(seen, "I pick \udcff 青 😀", 1, 0.1 + 0.2, True), Turn((), "", None, None, False, cut=True)),
        Oracle(expected, "pseudo"),
        StopReason.LENGTH,
        reward_seed=2**62,
        policy_seed=7,
        policy_version=3,
        tokens=(
            tokens,
            dataclasses.replace(tokens, ids_N=tokens.ids_N[::-1].copy(), prompt_length=2, allowed={2: (4, 5)}),
        ),
        regret=0.0,
    )
    mixed = Trajectory(
        GAME,
        "hedge",
        (Turn((), "", (0.1, 0.9), math.nan, True), Turn((), "", (1 / 3, 2 / 3), -0.0, True)),
        Oracle(np.ones((2, 2)), "external"),
        StopReason.COMPLETED,
        1,
        2,
        regret=math.nan,
    )
    failed = Trajectory(GAME, "api", (), Oracle(np.empty((0, 2)), "none"), StopReason.ERROR, 1, 2, error="a\nb")
    unlogged = dataclasses.replace(sampled, tokens=(dataclasses.replace(tokens, logprobs_N=None),), regret=None)
    return [sampled, mixed, failed, unlogged]


def assert_same(found: object, expected: object) -> None:
    """Equal values of equal types, NaN equal to NaN, -0.0 unlike 0.0."""
    assert type(found) is type(expected)
    if dataclasses.is_dataclass(expected) and not isinstance(expected, type):
        for field in dataclasses.fields(expected):
            assert_same(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)  # type: ignore[arg-type]
        for one, other in zip(found, expected, strict=True):  # type: ignore[call-overload]
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.shape == expected.shape  # type: ignore[attr-defined]
        assert found.tobytes() == expected.tobytes()  # type: ignore[attr-defined]
    elif isinstance(expected, float):
        assert repr(found) == repr(expected)
    else:
        assert found == expected


def test_round_trip_is_exact(tmp_path):
    written = trajectories()
    write_trajectories(tmp_path / "t.parquet", written, phase="train", iteration=0)
    found = read_trajectories(tmp_path / "t.parquet")
    assert len(found) == 4
    for one, other in zip(found, written, strict=True):
        assert_same(one, other)
    assert found[0].scenario.id == BANDIT.id


def test_files_of_format_2_are_read_with_their_column_of_what_was_kept(tmp_path):
    path, written = tmp_path / "t.parquet", trajectories()
    write_trajectories(path, written, phase="train", iteration=0)
    table = pq.read_table(path).append_column("kept", pa.array([False, True, True, False]))
    pq.write_table(table.replace_schema_metadata({"rmft_verl.format": "2"}), path)
    for one, other in zip(read_trajectories(path), written, strict=True):
        assert_same(one, other)
    assert read_kept(path) == [1, 2]


def test_an_empty_file_holds_no_trajectories(tmp_path):
    write_trajectories(tmp_path / "t.parquet", [], phase="eval", iteration=0)
    assert read_trajectories(tmp_path / "t.parquet") == []


def test_columns_can_be_read_by_people(tmp_path):
    written = trajectories()
    write_trajectories(tmp_path / "t.parquet", written, phase="train", iteration=4)
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert rows[0]["scenario_id"] == BANDIT.id and rows[0]["phase"] == "train" and rows[0]["iteration"] == 4
    assert rows[0]["actions"] == [1, None] and rows[0]["rewards"] == [0.1 + 0.2, None] and rows[0]["valid"] is False
    assert rows[1]["policies"] == [[0.1, 0.9], [1 / 3, 2 / 3]] and rows[1]["actions"] == [None, None]
    assert rows[0]["token_ids_N"] == [5, 151_643, 7, 7, 151_643, 5] and rows[1]["token_ids_N"] is None
    assert rows[0]["sample_lengths"] == [3, 3] and rows[0]["prompt_lengths"] == [1, 2]
    assert rows[2]["stop_reason"] == "error" and rows[2]["error"] == "a\nb"


def test_what_was_kept_lies_in_a_file_beside_the_plays(tmp_path):
    path = tmp_path / "train_001.parquet"
    write_trajectories(path, trajectories(), phase="train", iteration=1)
    before = path.read_bytes()
    assert read_kept(path) is None
    write_kept(path, [3, 0])
    assert read_kept(path) == [0, 3] and path.read_bytes() == before
    (tmp_path / "train_001.kept.json").write_text("[0, ")
    with pytest.raises(RunDirError, match=r"train_001\.kept\.json cannot be read"):
        read_kept(path)


def test_a_lone_surrogate_in_an_error_is_escaped(tmp_path):
    odd = dataclasses.replace(trajectories()[2], error="bad \udcff byte")
    write_trajectories(tmp_path / "t.parquet", [odd], phase="eval", iteration=0)
    assert read_trajectories(tmp_path / "t.parquet")[0].error == "bad \\udcff byte"


def test_a_damaged_file_is_named_in_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    write_trajectories(path, trajectories() * 50, phase="train", iteration=0)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    for damaged in (b"", b"PAR1 not parquet", whole[:-100], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(RunDirError, match=r"t\.parquet cannot be read as trajectories") as caught:
            read_trajectories(path)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(RunDirError, match=r"t\.parquet cannot be read"):
        read_trajectories(path)


def test_a_flipped_bit_is_named_or_changes_nothing(tmp_path):
    """A flip in what nothing is read from, such as statistics, may pass."""
    path = tmp_path / "t.parquet"
    write_trajectories(path, trajectories() * 5, phase="train", iteration=0)
    whole, read = path.read_bytes(), repr(read_trajectories(path))
    named = 0
    for position in np.random.default_rng(0).choice(len(whole), 100, replace=False):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            assert repr(read_trajectories(path)) == read
        except RunDirError:
            named += 1
    assert named > 20


def test_another_table_and_a_later_format_are_refused(tmp_path):
    path = tmp_path / "t.parquet"
    write_trajectories(path, trajectories(), phase="train", iteration=0)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["turns"]), path)
    with pytest.raises(RunDirError, match="turns"):
        read_trajectories(path)
    pq.write_table(table.replace_schema_metadata({"rmft_verl.format": "1"}), path)
    with pytest.raises(RunDirError, match="has format 1, this rmft_verl reads from 2 on"):
        read_trajectories(path)
    pq.write_table(table.replace_schema_metadata({"rmft_verl.format": str(FORMAT + 1)}), path)
    with pytest.raises(RunDirError, match=f"has format {FORMAT + 1}, .*upgrade rmft_verl"):
        read_trajectories(path)
