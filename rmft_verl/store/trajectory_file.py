"""Trajectories as parquet: one row per trajectory, readable columns, exact round trip.

Columns: phase, iteration; scenario_id, env, context, player, policy_version, reward_seed, policy_seed,
stop_reason, valid, regret; one entry per turn in actions (arm indices) or policies (points of the simplex), rewards
and turns (JSON: messages, text, parsed, cut); scenario (JSON); error; oracle_kind, expected_shape, expected_T_A (flat);
token_ids_N, token_mask_N, token_logprobs_N (all samples of the trajectory, concatenated), with sample_lengths and
prompt_lengths (one entry per sample; none for players that verl does not sample); allowed_places, allowed_ids (which of
these tokens structured decoding restricted, and to what; older files do not say).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.store.places import RunDirError
from rmft_verl.store.run_dir import replacing, write_text
from rmft_verl.types import Action, Message, Oracle, Scenario, StopReason, Tokens, Trajectory, Turn

FORMAT, OLDEST = 3, 2
"""File version, stored in the metadata, and the oldest that is read. Version 2 has a column ``kept``."""

ARRAYS = ("expected_T_A", "token_ids_N", "token_mask_N", "token_logprobs_N")
"""Columns read straight into numpy."""

CHECKSUM = b"rmft_verl.sha256"
"""Metadata key of the checksum of the values: parquet's own would cover its pages only."""

TURN = ("messages", "text", "parsed", "cut")
"""Keys of the JSON of one turn; its action and reward have columns of their own."""


def write_trajectories(path: Path, trajectories: Sequence[Trajectory], *, phase: str, iteration: int) -> None:
    """Write one row per trajectory; ``read_trajectories`` returns equal ones.

    Dialogues are ASCII JSON, which keeps even lone surrogates exactly. In the plain text columns ``player`` and
    ``error`` a lone surrogate becomes its ``\\udcXX`` escape, because parquet text must be valid UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"phase": phase, "iteration": iteration} | _to_row(trajectory) for trajectory in trajectories]
    table = pa.Table.from_pylist(rows, schema=_schema())
    table = table.replace_schema_metadata(table.schema.metadata | {CHECKSUM: _checksum(table)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def kept_file(path: Path) -> Path:
    """The file that says which trajectories of the file ``path`` were kept for training."""
    return path.with_suffix(".kept.json")


def write_kept(path: Path, kept: Sequence[int]) -> None:
    """Write the positions of the trajectories of the file ``path`` that were kept for training."""
    write_text(kept_file(path), json.dumps(sorted(kept)) + "\n")


def read_kept(path: Path) -> list[int] | None:
    """The positions of the kept trajectories, in order; None if they are not recorded."""
    beside = kept_file(path)
    try:
        if beside.exists():
            return [int(place) for place in json.loads(beside.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise RunDirError(f"{beside} cannot be read ({error}): restore it or remove it") from error
    flags = _read(path)[1]
    return None if None in flags else [place for place, kept in enumerate(flags) if kept]


def read_trajectories(path: Path) -> list[Trajectory]:
    """The trajectories of a file, in the order written. Raises ``RunDirError`` with its path if it is damaged."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[Trajectory], list[bool | None]]:
    """The trajectories, and whether each was kept; None if the format is not 2."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        found = int((table.schema.metadata or {}).get(b"rmft_verl.format", b"0"))
        if found > FORMAT:
            raise RunDirError(f"{path} has format {found}, this rmft_verl reads up to {FORMAT}: upgrade rmft_verl")
        if found < OLDEST:
            raise RunDirError(
                f"{path} has format {found}, this rmft_verl reads from {OLDEST} on: its trajectories are too old"
            )
        arrays = {name: _to_arrays(table.column(name)) for name in ARRAYS}
        rows = table.drop_columns(list(ARRAYS)).to_pylist()
        each = [{name: column[i] for name, column in arrays.items()} for i in range(len(rows))]
        read = [_from_row(row, own) for row, own in zip(rows, each, strict=True)]
        if (stored := (table.schema.metadata or {}).get(CHECKSUM)) is not None and stored != _checksum(table):
            raise ValueError("its content does not have its checksum")
        return read, [row.get("kept") for row in rows]
    except RunDirError:
        raise
    except Exception as error:  # pyarrow may raise anything for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunDirError(f"{path} cannot be read as trajectories ({reason}): restore it or remove it") from error


def _checksum(table: Any) -> bytes:
    """SHA-256 of the values of a table, whatever their layout."""
    import pyarrow.compute as pc

    digest = hashlib.sha256(repr(table.drop_columns(list(ARRAYS)).to_pylist()).encode())
    for name in ARRAYS:
        column = table.column(name).combine_chunks()
        digest.update(repr(pc.list_value_length(column).to_pylist()).encode())
        digest.update(column.flatten().to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest().encode()


def _schema() -> Any:
    import pyarrow as pa

    text, integer, real = pa.string(), pa.int64(), pa.float64()
    columns = [
        ("phase", text),
        ("iteration", integer),
        ("scenario_id", text),
        ("env", text),
        ("context", text),
        ("player", text),
        ("policy_version", integer),
        ("reward_seed", integer),
        ("policy_seed", integer),
        ("stop_reason", text),
        ("valid", pa.bool_()),
        ("regret", real),
        ("actions", pa.list_(integer)),
        ("policies", pa.list_(pa.list_(real))),
        ("rewards", pa.list_(real)),
        ("turns", text),
        ("scenario", text),
        ("error", text),
        ("oracle_kind", text),
        ("expected_shape", pa.list_(integer)),
        ("expected_T_A", pa.list_(real)),
        ("token_ids_N", pa.list_(pa.int32())),
        ("token_mask_N", pa.list_(pa.int8())),
        ("token_logprobs_N", pa.list_(pa.float32())),
        ("allowed_places", pa.list_(pa.int32())),
        ("allowed_ids", pa.list_(pa.list_(pa.int32()))),
        ("sample_lengths", pa.list_(integer)),
        ("prompt_lengths", pa.list_(integer)),
    ]
    return pa.schema(columns, metadata={"rmft_verl.format": str(FORMAT)})


def _to_row(trajectory: Trajectory) -> dict[str, Any]:
    scenario, samples, oracle = trajectory.scenario, trajectory.tokens, trajectory.oracle
    logged = all(tokens.logprobs_N is not None for tokens in samples)
    starts = np.cumsum([0, *(len(tokens.ids_N) for tokens in samples)]).tolist()
    allowed = [
        (start + place, ids)
        for start, tokens in zip(starts, samples, strict=False)
        for place, ids in tokens.allowed.items()
    ]
    actions = [turn.action for turn in trajectory.turns]
    turns = [[turn.messages, turn.text, turn.parsed, turn.cut] for turn in trajectory.turns]
    return {
        "scenario_id": scenario.id,
        "env": scenario.env,
        "context": scenario.context,
        "player": _utf8(trajectory.player),
        "policy_version": trajectory.policy_version,
        "reward_seed": trajectory.reward_seed,
        "policy_seed": trajectory.policy_seed,
        "stop_reason": trajectory.stop_reason.value,
        "valid": trajectory.valid,
        "regret": trajectory.regret,
        "actions": [None if isinstance(action, tuple) else action for action in actions],
        "policies": [action if isinstance(action, tuple) else None for action in actions],
        "rewards": [turn.reward for turn in trajectory.turns],
        "turns": json.dumps([dict(zip(TURN, turn, strict=True)) for turn in turns]),
        "scenario": json.dumps(scenario.to_json()),
        "error": _utf8(trajectory.error),
        "oracle_kind": oracle.kind,
        "expected_shape": oracle.expected_T_A.shape,
        "expected_T_A": oracle.expected_T_A.ravel(),
        "token_ids_N": np.concatenate([tokens.ids_N for tokens in samples]) if samples else None,
        "token_mask_N": np.concatenate([tokens.mask_N for tokens in samples]) if samples else None,
        "token_logprobs_N": np.concatenate([tokens.logprobs_N for tokens in samples]) if samples and logged else None,
        "allowed_places": [place for place, _ in allowed],
        "allowed_ids": [ids for _, ids in allowed],
        "sample_lengths": [len(tokens.ids_N) for tokens in samples],
        "prompt_lengths": [tokens.prompt_length for tokens in samples],
    }


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _to_arrays(column: Any) -> list[np.ndarray | None]:
    """One writable numpy array, a copy, per row of a list column; None where the row is null."""
    return [None if row.values is None else np.array(row.values.to_numpy(zero_copy_only=False)) for row in column]


def _from_row(row: dict[str, Any], arrays: dict[str, np.ndarray | None]) -> Trajectory:
    expected = arrays["expected_T_A"]
    if expected is None:
        raise ValueError("a row has no oracle")
    played = zip(json.loads(row["turns"]), row["actions"], row["policies"], row["rewards"], strict=True)
    return Trajectory(
        scenario=Scenario.from_json(json.loads(row["scenario"])),
        player=row["player"],
        turns=tuple(_turn(turn, action, policy, reward) for turn, action, policy, reward in played),
        oracle=Oracle(expected.reshape(row["expected_shape"]), row["oracle_kind"]),
        stop_reason=StopReason(row["stop_reason"]),
        reward_seed=row["reward_seed"],
        policy_seed=row["policy_seed"],
        policy_version=row["policy_version"],
        tokens=_samples(row, arrays),
        error=row["error"],
        regret=row["regret"],
    )


def _samples(row: dict[str, Any], arrays: dict[str, np.ndarray | None]) -> tuple[Tokens, ...]:
    ids, mask, logprobs = arrays["token_ids_N"], arrays["token_mask_N"], arrays["token_logprobs_N"]
    if ids is None or mask is None:
        return ()
    cuts = np.cumsum(row["sample_lengths"])
    if not len(cuts) or not cuts[-1] == len(ids) == len(mask):
        raise ValueError("sample_lengths do not add up to the tokens of a row")
    samples = zip(np.split(ids, cuts[:-1]), np.split(mask, cuts[:-1]), row["prompt_lengths"], strict=True)
    each = [None] * len(cuts) if logprobs is None else np.split(logprobs, cuts[:-1])
    allowed: list[dict[int, tuple[int, ...]]] = [{} for _ in cuts]
    for place, among in zip(row.get("allowed_places") or (), row.get("allowed_ids") or (), strict=True):
        nth = int(np.searchsorted(cuts, place, side="right"))
        allowed[nth][place - int(cuts[nth - 1] if nth else 0)] = tuple(among)
    return tuple(Tokens(*own, logged, among) for own, logged, among in zip(samples, each, allowed, strict=True))


def _turn(turn: dict[str, Any], action: int | None, policy: list[float] | None, reward: float | None) -> Turn:
    played: Action | None = action if policy is None else tuple(policy)
    messages = tuple(Message(*message) for message in turn["messages"])
    return Turn(messages, turn["text"], played, reward, turn["parsed"], turn["cut"])
