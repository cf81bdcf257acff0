"""What a run kept, as dialogues in files that other trainers read: one JSON object a line.

chat-jsonl         {"messages": [{"role": .., "content": .., "weight": 0 or 1}, ..]}; weight 1: the reply is trained on
episodes           a line of chat-jsonl with its game: scenario, reward_seed, policy_seed; what rmft-verl import reads
preference-jsonl   {"input": {"messages": [..]}, "preferred_output": [..], "non_preferred_output": [..]}
sharegpt           {"conversations": [{"from": "system", "human" or "gpt", "value": ..}, ..]}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmft_verl.config import RolloutConfig
from rmft_verl.store.places import check_place
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.store.stored_config import refuse_numbers, stored_config
from rmft_verl.store.trajectory_file import read_kept, read_trajectories
from rmft_verl.types import Message, RunError, Trajectory

Line = dict[str, Any]

SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
"""Role -> its name in ``sharegpt``."""


@dataclass(frozen=True)
class Exported:
    """A file of dialogues that was written."""

    path: Path
    lines: int
    replies: int
    """Replies that are trained on; in ``preference-jsonl`` the preferred ones."""
    kept: int
    """Trajectories that the iterations kept."""
    iterations: Sequence[int]
    sha256: str


def chat_lines(trajectory: Trajectory, history: str) -> list[Line]:
    """The training samples of a trajectory as ``chat-jsonl``: one for the dialogue, or one per prompt if ``history``
    gives every round its own.

    Weight 0: replies that were asked again, and those of worked examples.
    """
    samples: list[list[Line]] = []
    goes_on = False
    for turn, again in zip(trajectory.turns, trajectory.asked_again, strict=True):
        if not samples or (history != "dialogue" and not goes_on):
            samples.append([])
        samples[-1] += [_message(message, 0) for message in turn.messages]
        samples[-1].append(_message(Message("assistant", turn.text), 0 if again else 1))
        goes_on = again
    return [{"messages": messages} for messages in samples]


def unweighted(line: Line) -> Line:
    """A line of ``chat-jsonl`` without weights, for trainers that refuse them: they train on every reply."""
    plain = [{key: value for key, value in message.items() if key != "weight"} for message in line["messages"]]
    return {"messages": plain}


def episode_lines(trajectory: Trajectory, history: str) -> list[Line]:
    """The dialogue as ``chat-jsonl`` with what its game needs to be played again; one line.

    Raises ``RunError`` for another ``history`` than ``dialogue``: its prompts are no episode.
    """
    if history != "dialogue":
        raise RunError(
            f"--format episodes writes whole dialogues, and the run has rollout.history={history}: use another"
        )
    game: Line = {"scenario": trajectory.scenario.to_json()}
    game |= {"reward_seed": trajectory.reward_seed, "policy_seed": trajectory.policy_seed}
    return [line | game for line in chat_lines(trajectory, history)]


def sharegpt_lines(trajectory: Trajectory, history: str) -> list[Line]:
    """The same samples as ``sharegpt``, which knows no weights."""
    return [
        {"conversations": [{"from": SPEAKERS[m["role"]], "value": m["content"]} for m in line["messages"]]}
        for line in chat_lines(trajectory, history)
    ]


def preference(chosen: Trajectory, rejected: Trajectory, history: str) -> Line | None:
    """The first two replies in which the trajectories differ, behind the messages of their prompt that both have read.

    A preference compares two replies to one input; later replies of two plays have different inputs. None if the inputs
    differ before the replies do.
    """
    told: list[Message] = []
    goes_on = False
    for better, worse, again in zip(chosen.turns, rejected.turns, chosen.asked_again, strict=False):
        if better.messages != worse.messages:
            return None
        if history != "dialogue" and not goes_on:
            told = []
        goes_on = again
        told += better.messages
        if better.text != worse.text:
            return {
                "input": {"messages": [_plain(message) for message in told]},
                "preferred_output": [_plain(Message("assistant", better.text))],
                "non_preferred_output": [_plain(Message("assistant", worse.text))],
            }
        told.append(Message("assistant", better.text))
    return None


def preference_lines(played: Sequence[Trajectory], kept: Sequence[int], history: str) -> Iterator[Line]:
    """In each scenario the best kept trajectory with the worst valid one that was not kept, the second with the second
    worst, ...; those that share no input at their first difference are left out.
    """
    scenarios: dict[str, tuple[list[Trajectory], list[Trajectory]]] = {}
    for place, trajectory in enumerate(played):
        if trajectory.valid and trajectory.regret is not None:
            scenarios.setdefault(trajectory.scenario.id, ([], []))[place not in set(kept)].append(trajectory)
    for better, worse in scenarios.values():
        better.sort(key=_regret)
        worse.sort(key=_regret, reverse=True)
        for chosen, rejected in zip(better, worse, strict=False):
            if _regret(chosen) < _regret(rejected) and (line := preference(chosen, rejected, history)):
                yield line


def jsonl(lines: Iterable[Line]) -> str:
    """The text of a file, in ASCII."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def export_kept(run_path: Path, form: str, out: Path | None = None, only: Sequence[int] = ()) -> Exported:
    """Write what a run kept, of all iterations or ``only`` of some; default of ``out``: RUN/export/FORM.jsonl.

    Raises ``RunError`` if the run kept nothing there, ``out`` exists, or the model reads numbers.
    """
    refuse_numbers(run_path)
    run = RunDir.open(run_path)
    target = out or run.path / "export" / f"{form}.jsonl"
    if out is not None and out.exists():
        raise RunError(f"{out} exists: remove it or name another OUT")
    check_place(target.absolute(), "name another OUT")
    history = str(stored_config(run.path).get("rollout.history", RolloutConfig().history))
    recorded = [n for n in run.recorded("train") if not only or n in only]
    if missing := set(only) - set(recorded):
        raise RunError(f"--iteration {min(missing)}: {run.path} has rollouts of iterations {run.recorded('train')}")
    lines: list[Line] = []
    n_kept = 0
    for n in recorded:
        played, kept = read_trajectories(run.trajectories("train", n)), read_kept(run.trajectories("train", n))
        if kept is None:
            raise RunError(f"{run.path} does not say what iteration {n} kept: resume the run, which selects again")
        n_kept += len(kept)
        lines += FORMATS[form](played, kept, history)
    if not lines:
        raise RunError(f"{run.path} kept nothing that --format {form} can hold; let it finish an iteration")
    text = jsonl(lines)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Exported(target, len(lines), sum(map(_replies, lines)), n_kept, recorded, digest)


def _each(write: Callable[[Trajectory, str], list[Line]]) -> Callable[..., Iterable[Line]]:
    def lines(played: Sequence[Trajectory], kept: Sequence[int], history: str) -> Iterable[Line]:
        return (line for place in kept for line in write(played[place], history))

    return lines


FORMATS: dict[str, Callable[[Sequence[Trajectory], Sequence[int], str], Iterable[Line]]] = {
    "chat-jsonl": _each(chat_lines),
    "episodes": _each(episode_lines),
    "preference-jsonl": preference_lines,
    "sharegpt": _each(sharegpt_lines),
}
"""Format -> the lines of one iteration: its trajectories, the positions of the kept ones, how a model reads rounds."""


def _replies(line: Line) -> int:
    if "messages" in line:
        return sum(message.get("weight", 0) for message in line["messages"])
    return sum(said["from"] == "gpt" for said in line.get("conversations", ())) or 1


def _message(message: Message, weight: int) -> Line:
    """Only replies have a weight."""
    return _plain(message) | ({"weight": weight} if message.role == "assistant" else {})


def _plain(message: Message) -> Line:
    """A lone surrogate is no Unicode text, and other programs refuse it: it becomes a question mark."""
    return {"role": message.role, "content": message.content.encode("utf-8", "replace").decode()}


def _regret(trajectory: Trajectory) -> float:
    assert trajectory.regret is not None
    return trajectory.regret
