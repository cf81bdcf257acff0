"""Trajectories as parquet: one row a trajectory, readable columns, exact round trip.

Columns: phase, iteration, kept; scenario_id, env, context, player, policy_version, reward_seed, policy_seed,
stop_reason, valid, regret; one entry a turn in actions (arm indices) or policies (points of the simplex), rewards and
turns (JSON: messages, text, parsed, cut); scenario (JSON); error; oracle_kind, expected_shape, expected_T_A (flat);
token_ids_N, token_mask_N, token_logprobs_N (all samples of the play, one after another), with sample_lengths and
prompt_lengths (one entry a sample; none for players that verl does not sample).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.store.run_dir import RunDirError, replacing
from rmft_verl.types import Action, Message, Oracle, Scenario, StopReason, Tokens, Trajectory, Turn

FORMAT = 2
"""Version of the files, in their metadata. A reader refuses a later one; 1 had one sample a play."""

ARRAYS = ("expected_T_A", "token_ids_N", "token_mask_N", "token_logprobs_N")
"""Columns read straight into numpy."""

CHECKSUM = b"rmft_verl.sha256"
"""Where the metadata hold the checksum of what is read: parquet's own cover its pages, not what describes them."""

TURN = ("messages", "text", "parsed", "cut")
"""What the JSON of one turn holds; its action and reward have columns of their own."""


def write_trajectories(
    path: Path,
    trajectories: Sequence[Trajectory],
    *,
    phase: str,
    iteration: int,
    kept: Sequence[Trajectory] | None = None,
) -> None:
    """Write one row a trajectory; ``read_trajectories`` gives back equal ones.

    ``kept`` are the members of ``trajectories`` (the same objects) that were selected for training; None leaves the
    column empty. Dialogues are ASCII JSON, which keeps even lone surrogates exactly; in ``player`` and ``error``, plain
    text columns, a lone surrogate becomes its ``\\udcXX`` escape, because parquet text must be valid UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept_ids = None if kept is None else {id(trajectory) for trajectory in kept}
    if kept_ids is not None and not kept_ids <= {id(trajectory) for trajectory in trajectories}:
        raise ValueError("kept holds a trajectory that is not among those written")
    rows = [
        {"phase": phase, "iteration": iteration, "kept": None if kept_ids is None else id(trajectory) in kept_ids}
        | _to_row(trajectory)
        for trajectory in trajectories
    ]
    table = pa.Table.from_pylist(rows, schema=_schema())
    table = table.replace_schema_metadata(table.schema.metadata | {CHECKSUM: _checksum(table)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_trajectories(path: Path) -> list[Trajectory]:
    """The trajectories of a file, in the order written. Raises ``RunDirError``, naming it, if it is damaged."""
    return [trajectory for trajectory, _ in read_with_kept(path)]


def read_with_kept(path: Path) -> list[tuple[Trajectory, bool | None]]:
    """As ``read_trajectories``, each with whether it was kept for training; None if the file does not say."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        found = int((table.schema.metadata or {}).get(b"rmft_verl.format", b"0"))
        if found > FORMAT:
            raise RunDirError(f"{path} has format {found}, this rmft_verl reads up to {FORMAT}: upgrade rmft_verl")
        arrays = {name: _to_arrays(table.column(name)) for name in ARRAYS}
        rows = table.drop_columns(list(ARRAYS)).to_pylist()
        if found == 1:
            rows = [row | _lengths_of_format_1(row, arrays["token_ids_N"][i]) for i, row in enumerate(rows)]
        each = [{name: column[i] for name, column in arrays.items()} for i in range(len(rows))]
        read = [(_from_row(row, own), row["kept"]) for row, own in zip(rows, each, strict=True)]
        if (stored := (table.schema.metadata or {}).get(CHECKSUM)) is not None and stored != _checksum(table):
            raise ValueError("its content does not have its checksum")
        return read
    except RunDirError:
        raise
    except Exception as error:  # what damage makes pyarrow raise is anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunDirError(f"{path} cannot be read as trajectories ({reason}): restore it or remove it") from error


def _checksum(table: Any) -> bytes:
    """SHA-256 of the values of a table, however they are laid out."""
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
        ("kept", pa.bool_()),
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
        ("sample_lengths", pa.list_(integer)),
        ("prompt_lengths", pa.list_(integer)),
    ]
    return pa.schema(columns, metadata={"rmft_verl.format": str(FORMAT)})


def _to_row(trajectory: Trajectory) -> dict[str, Any]:
    scenario, samples, oracle = trajectory.scenario, trajectory.tokens, trajectory.oracle
    logged = all(tokens.logprobs_N is not None for tokens in samples)
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
        "sample_lengths": [len(tokens.ids_N) for tokens in samples],
        "prompt_lengths": [tokens.prompt_length for tokens in samples],
    }


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _to_arrays(column: Any) -> list[np.ndarray | None]:
    """One numpy array (a copy, writable) a row of a list column; None where the row is null."""
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
    return tuple(Tokens(*sample, logged) for sample, logged in zip(samples, each, strict=True))


def _lengths_of_format_1(row: dict[str, Any], ids: np.ndarray | None) -> dict[str, Any]:
    if ids is None:
        return {}
    return {"sample_lengths": [len(ids)], "prompt_lengths": [row["prompt_length"]]}


def _turn(turn: dict[str, Any], action: int | None, policy: list[float] | None, reward: float | None) -> Turn:
    played: Action | None = action if policy is None else tuple(policy)
    messages = tuple(Message(*message) for message in turn["messages"])
    return Turn(messages, turn["text"], played, reward, turn["parsed"], turn["cut"])
