"""Turns trajectories of an algorithm into dialogues of a model that plays the same: token ids and mask."""

from __future__ import annotations

import dataclasses

from rmft_verl.bridge.sampling.dialogue import ChatTemplate, Dialogue
from rmft_verl.types import Tokens, Trajectory


def render(trajectory: Trajectory, template: ChatTemplate, history: str) -> Trajectory:
    """``trajectory`` with ``tokens``. Each turn's ``text`` becomes a whole reply: its words and the end token.

    The trajectory is one sample if ``history`` is ``dialogue``, else one sample per turn. Nothing was sampled, so only
    here words are tokenized for training. Raises ``ValueError`` for a turn without words.
    """
    samples: list[Tokens] = []
    dialogue = Dialogue(template)
    for number, turn in enumerate(trajectory.turns):
        if not turn.text:
            raise ValueError(f"turn {number} of a play by {trajectory.player!r} has no words to learn from")
        dialogue.observe(turn.messages)
        dialogue.reply(template.reply(turn.text))
        if history != "dialogue":
            samples.append(dialogue.tokens())
            dialogue = Dialogue(template)
    if dialogue.ids:
        samples.append(dialogue.tokens())
    return dataclasses.replace(trajectory, tokens=tuple(samples))
