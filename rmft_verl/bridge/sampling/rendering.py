"""Plays of an algorithm as the dialogues of a model that plays so: words in, token ids and mask out."""

from __future__ import annotations

import dataclasses

from rmft_verl.bridge.sampling.dialogue import ChatTemplate, Dialogue
from rmft_verl.types import Tokens, Trajectory


def render(trajectory: Trajectory, template: ChatTemplate, history: str) -> Trajectory:
    """``trajectory`` with ``tokens``, each turn's ``text`` being a whole reply: its words and the end token.

    One sample of the whole play, or one a turn unless ``history`` is ``dialogue``. Nothing was sampled here, so this is
    the one place where words become the ids that are trained on. ``ValueError`` for a turn without words.
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
