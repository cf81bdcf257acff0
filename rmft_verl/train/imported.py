"""``rmft-verl import``: dialogues that were played elsewhere, played again here on their replies, scored and selected.

A line of the file is one of ``chat-jsonl`` with its game:
{"messages": [{"role": .., "content": ..}, ..], "scenario": {..}, "reward_seed": N, "policy_seed": N or absent}

Nothing is believed that can be computed: the environment tells its side again, and a dialogue in which it said
something else has another game than the line says, so it cannot be scored.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from rmft_verl.algo import METHODS
from rmft_verl.algo.scores import Scorer
from rmft_verl.config import Config
from rmft_verl.env import Env, load_env, make_generator
from rmft_verl.env.play import play_now
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import SELECTION
from rmft_verl.players.scripted import Scripted
from rmft_verl.setup.env_checks import check_fit
from rmft_verl.setup.recipe import load_config
from rmft_verl.store import env_copy
from rmft_verl.store.run_dir import RunDir, RunState
from rmft_verl.store.tracking import FileTracker
from rmft_verl.store.trajectory_file import write_kept, write_trajectories
from rmft_verl.train.iteration_metrics import kept_metrics, rollout_metrics
from rmft_verl.types import Message, RunError, Scenario, StopReason, Trajectory

NEEDED = ("messages", "scenario", "reward_seed")
SHOWN = 60
"""Characters of a message that an error shows."""


@dataclass(frozen=True)
class Imported:
    """The run directory that an import has made."""

    path: Path
    played: Sequence[Trajectory]
    kept: Sequence[int]


def import_dialogues(file: Path, directory: Path, settings: Sequence[str]) -> Imported:
    """Make the run directory ``directory`` with one iteration: the dialogues of ``file``, and those that are kept.

    ``settings``: ``recipe=NAME key=value ...`` with the environment and the selection. Raises ``RunError`` in one line,
    with the line of the file, for what is not in the form or cannot be scored; nothing is written then.
    """
    lines = _lines(file)
    groups = Counter(json.dumps(line["scenario"], sort_keys=True) for line in lines)
    sizes = [f"rollout.rollouts={max(groups.values())}", f"rollout.scenarios={len(groups)}"]
    config = load_config([*settings, *sizes, "update.batch=1", "iterations=1"])
    for key, value, only in (
        ("rollout.history", config.rollout.history, "dialogue"),
        ("rollout.examples", config.rollout.examples, 0),
    ):
        if value != only:
            raise RunError(f"{key}={value}: a line of {file} is one growing dialogue of one game; use {key}={only}")
    env_class = load_env(config.env.name, config.env_dirs)
    check_fit(config, env_class)
    played = [_replayed(line, f"{file}, line {n}", env_class, config) for n, line in enumerate(lines, start=1)]
    rng = np.random.default_rng([SELECTION, config.seed, 1])
    generator = make_generator(env_class, config.env.options)
    scored = Scorer(config.selection.score, generator, config.selection.further)(played, rng)
    kept = METHODS[config.update.loss].batch(scored, [each for each in played if each.failed], config, rng).kept

    def fill(new: RunDir) -> RunState:
        env_copy.keep(new.path, config)
        write_trajectories(new.trajectories("train", 1), played, phase="train", iteration=1)
        write_kept(new.trajectories("train", 1), kept)
        row = rollout_metrics(played, math.nan)
        if kept:
            row |= kept_metrics([played[place] for place in kept], kept, scored)
        FileTracker(new.metrics).log(row, 1)
        return RunState(1, phase="save")

    text = OmegaConf.to_yaml(OmegaConf.structured(config))
    return Imported(RunDir.create(directory.parent, directory.name, text, fill).path, played, kept)


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        texts = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{file} cannot be read ({error}): name a file of JSON lines in UTF-8") from error
    lines = [_line(text, f"{file}, line {n}") for n, text in enumerate(texts, start=1) if text.strip()]
    if not lines:
        raise RunError(f"{file} has no lines: name a file with a dialogue a line")
    return lines


def _line(text: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise RunError(f"{where}: no JSON ({error}); write one object a line") from error
    missing = [key for key in NEEDED if not isinstance(line, dict) or key not in line]
    if missing:
        raise RunError(f"{where}: {missing[0]} is missing; without {', '.join(NEEDED)} a dialogue cannot be scored")
    for key in ("reward_seed", "policy_seed"):
        if not isinstance(value := line.get(key, 0), int) or isinstance(value, bool) or value < 0:
            raise RunError(f"{where}: {key}={value!r}: write the whole number that the game was seeded with")
    return dict(line)


def _replayed(line: Mapping[str, Any], where: str, env_class: type[Env], config: Config) -> Trajectory:
    """The episode of a line: the environment plays, the replies are those of the line."""
    told = _messages(line["messages"], where)
    try:
        scenario = Scenario.from_json(line["scenario"])
        played = play_now(
            env_class,
            Scripted([message.content for message in told if message.role == "assistant"]),
            scenario,
            reward_seed=line["reward_seed"],
            policy_seed=line.get("policy_seed", 0),
            on_invalid=config.rollout.on_invalid,
        )
    except Exception as error:  # whatever the plug-in raises for a scenario that is not one of its own
        raise RunError(
            f"{where}: {env_class.name} has no such scenario ({type(error).__name__}: {error}); give the scenario "
            "as Scenario.to_json() writes it, and its environment as env.name"
        ) from error
    if played.stop_reason is StopReason.ERROR:
        raise RunError(f"{where}: {env_class.name} cannot play it ({played.error.splitlines()[-1]}); mend the scenario")
    _check_same(played.messages, told, where)
    return score(replace(played, player="model", policy_version=0))


def _messages(given: Any, where: str) -> list[Message]:
    """The dialogue up to its last reply."""
    try:
        told = [Message(str(message["role"]), message["content"]) for message in given]
    except (TypeError, KeyError) as error:
        raise RunError(f"{where}: messages is no list of role and content; write it as chat-jsonl has it") from error
    if wrong := [message.content for message in told if not isinstance(message.content, str)]:
        raise RunError(f"{where}: content={wrong[0]!r}: write the text of the message")
    while told and told[-1].role != "assistant":
        told.pop()
    if not told:
        raise RunError(f"{where}: it has no reply of the assistant; leave it out")
    return told


def _check_same(played: Sequence[Message], told: Sequence[Message], where: str) -> None:
    for n, (ours, theirs) in enumerate(zip(played, told, strict=False), start=1):
        if ours != theirs:
            raise RunError(
                f"{where}: message {n} is {theirs.role} {_short(theirs.content)}, and the game tells {ours.role} "
                f"{_short(ours.content)}: another scenario, reward_seed, policy_seed or rollout.on_invalid was played"
            )
    if len(played) != len(told):
        raise RunError(
            f"{where}: {len(told)} messages, and the game ends after {len(played)}: a line is one game; leave the "
            "rest out"
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"...{text[-SHOWN:]}")
