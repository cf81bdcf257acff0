"""Compares a dialogue as it is played, reply by reply, with the chat template's own rendering of it as a whole.

A model that is served behind a chat API reads the latter. Where the two differ, ``played_template`` is a template whose
own rendering is what was played.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import SequenceMatcher

from rmft_verl.bridge.sampling.dialogue import TODAY, ChatTemplate, Dialogue
from rmft_verl.types import Message

SHORT = (
    Message("user", "Pick red or blue.\n\nRound 1."),
    Message("assistant", "I try red.\nAction: red"),
    Message("user", "red paid 1.\nRound 2."),
    Message("assistant", "Red again.\nAction: red"),
    Message("user", "red paid 0.\nRound 3."),
)
"""A dialogue of two replies that waits for the third."""

THOUGHT = "<think>\nRed or blue?\n</think>\n\n"
ALOUD = tuple(m._replace(content=THOUGHT + m.content) if m.role == "assistant" else m for m in SHORT)
"""The same with a thought before each answer."""

SPACED = tuple(m._replace(content=f" {m.content}\n") if m.role == "assistant" else m for m in SHORT)
"""The same with white space around the replies, which many templates trim and some tokens swallow."""

WHOLE = (
    "{%- set played = namespace(plain=not tools) -%}{%- for message in messages -%}"
    "{%- if message.role != ('assistant' if loop.index0 % 2 else 'user') or message.content is not string -%}"
    "{%- set played.plain = false -%}{%- endif -%}{%- endfor -%}"
    "{%- if played.plain -%}{%- for message in messages -%}"
    "{%- if message.role == 'assistant' -%}{{- message.content -}}{{- @end@ -}}"
    "{%- elif loop.first -%}{{- @first@ -}}{{- message.content@trim@ -}}"
    "{{- @after@ if not loop.last or add_generation_prompt else @last@ -}}"
    "{%- else -%}{{- @between@ -}}{{- message.content@trim@ -}}"
    "{{- @again@ if not loop.last or add_generation_prompt else @last@ -}}"
    "{%- endif -%}{%- endfor -%}{%- else %}@own@{% endif -%}"
)
"""A template of alternating user and assistant messages; whatever else there is, the model's own template renders."""


def played(template: ChatTemplate, messages: Sequence[Message]) -> list[int]:
    """Ids of a dialogue whose assistant messages were sampled: what the model reads and is trained on."""
    dialogue = Dialogue(template)
    for message in messages:
        if message.role == "assistant":
            dialogue.reply(template.reply(message.content))
        else:
            dialogue.observe([message])
    return dialogue.ids


def difference(template: ChatTemplate, history: str) -> str:
    """How a dialogue differs from what a chat API renders, which gives the template no arguments; one line, or empty.

    ``history``: ``rollout.history``; unless it is ``dialogue``, there are no past turns.
    """
    bare = {key: value for key, value in template.arguments.items() if key == TODAY}
    other = template.replaced(template.source(), bare)
    return _differ(template, other, history) or spaces_lost(template, other, history)


def spaces_lost(template: ChatTemplate, other: ChatTemplate, history: str) -> str:
    """How ``other`` renders replies with white space around them in another way than they are played; or empty."""
    if history != "dialogue" or (ours := played(template, SPACED)) == (own := other.opening(SPACED)):
        return ""
    return f"with white space around its replies, {_in_words(template, ours, own, len(SPACED) // 2)}"


def played_template(template: ChatTemplate, history: str) -> str:
    """A chat template that renders without arguments what is played with ``template``.

    Raises ``ValueError`` if no template of fixed texts around the messages does. White space around replies may still
    be lost (``spaces_lost``), to end tokens that swallow what follows them (Phi-3).
    """
    (first, after), (between, again) = template.around(behind_reply=False), template.around(behind_reply=True)
    parts = {"end": template.end_text, "first": first, "after": after, "between": between, "again": again}
    text = WHOLE.replace("@trim@", " | trim" if template.trims() else "")
    for name, part in (parts | {"last": template.unanswered()}).items():
        text = text.replace(f"@{name}@", json.dumps(part, ensure_ascii=False))
    given = [f"{{%- set {key} = {json.dumps(value)} -%}}" for key, value in template.arguments.items() if key != TODAY]
    text = text.replace("@own@", "".join(given) + template.source())
    if found := _differ(template, template.replaced(text, {}), history):
        raise ValueError(found)
    return text


def _differ(template: ChatTemplate, other: ChatTemplate, history: str) -> str:
    """How a rendering by ``other`` differs from what is played with ``template``; empty if it does not."""
    dialogues: list[tuple[Message, ...]] = [SHORT] if history == "dialogue" else [SHORT[:1]]
    if history == "dialogue" and "</think>" in template.source() and template.arguments.get("enable_thinking", True):
        dialogues.append(ALOUD)
    for messages in dialogues:
        ours, own = played(template, messages), other.opening(messages)
        if ours != own:
            return _in_words(template, ours, own, len(messages) // 2)
    return ""


def _in_words(template: ChatTemplate, ours: list[int], own: list[int], past: int) -> str:
    steps = SequenceMatcher(a=ours, b=own, autojunk=False).get_opcodes()
    found = [(ours[a:b], own[c:d]) for kind, a, b, c, d in steps if kind != "equal"]
    said = (
        f"a dialogue with {past} past turns has {len(ours)} tokens as it is played, {len(own)} as a chat API renders it"
    )
    for who, parts in zip(("the play", "the API"), zip(*found, strict=True), strict=True):
        if texts := dict.fromkeys(repr(template.words(part)) for part in parts if part):
            said += f"; only {who} has {', '.join(texts)}"
    return said
