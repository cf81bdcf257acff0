"""Turns trajectories of an algorithm into dialogues of a model that plays the same: token ids and mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rmft_verl.bridge.sampling.answer_line import AnswerLine, going_on
from rmft_verl.bridge.sampling.dialogue import ChatTemplate, Dialogue
from rmft_verl.config import Config
from rmft_verl.env import load_env
from rmft_verl.types import Tokens, Trajectory


def render_all(trajectories: Sequence[Trajectory], template: ChatTemplate, config: Config) -> list[Trajectory]:
    """``render`` each trajectory as the run of ``config`` would have sampled it."""
    env_class, rollout = load_env(config.env.name, config.env_dirs), config.rollout
    games = (trajectory.scenario for trajectory in trajectories)
    lines = (AnswerLine.of(env_class, game, template) if rollout.structured else None for game in games)
    return [render(each, template, rollout.history, line) for each, line in zip(trajectories, lines, strict=True)]


def render(trajectory: Trajectory, template: ChatTemplate, history: str, line: AnswerLine | None = None) -> Trajectory:
    """``trajectory`` with ``tokens``. Each turn's ``text`` becomes a whole reply: its words and the end token.

    ``line``: the answers that structured decoding allows; a reply that is one of them is marked as if it were decoded.
    The trajectory is one sample if ``history`` is ``dialogue``, else one sample per turn. Nothing was sampled, so only
    here words are tokenized for training. Raises ``ValueError`` for a turn without words.
    """
    samples: list[Tokens] = []
    dialogue = Dialogue(template)
    for number, turn in enumerate(trajectory.turns):
        if not turn.text:
            raise ValueError(f"turn {number} of a play by {trajectory.player!r} has no words to learn from")
        dialogue.observe(turn.messages)
        _say(dialogue, template.reply(turn.text), line.choices("") if line is not None and line.alone else [])
        if history != "dialogue":
            samples.append(dialogue.tokens())
            dialogue = Dialogue(template)
    if dialogue.ids:
        samples.append(dialogue.tokens())
    return dataclasses.replace(trajectory, tokens=tuple(samples))


def _say(dialogue: Dialogue, reply: list[int], choices: list[list[int]]) -> None:
    if reply not in choices:
        dialogue.reply(reply)
        return
    for n, token in enumerate(reply):
        dialogue.choose(token, going_on(choices, reply[:n]))
