"""Finds the sampled tokens that say the action of each reply, by decoding them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.env.answers import answer_span
from rmft_verl.types import Action, Tokens

Parse = Callable[[str], Action | None]


def action_only(tokens: Tokens, template: ChatTemplate, parse: Parse) -> Tokens:
    """``tokens`` with a mask of only the sampled tokens of each reply that say the action which ``parse`` reads in it
    (``answer_span``), and of its end.
    """
    mask_N = np.zeros_like(tokens.mask_N)
    for start, end in tokens.reply_spans:
        mask_N[start:end] = _marks(tokens.ids_N[start:end].tolist(), template, parse) * tokens.sampled_N[start:end]
    return dataclasses.replace(tokens, mask_N=mask_N)


def _marks(ids: Sequence[int], template: ChatTemplate, parse: Parse) -> np.ndarray:
    """True on the words that say the action and on the end token of a reply. Shape (N,).

    A token that also holds what stands before those words and the blanks before them is excluded, since it may hold
    reasoning; one that holds their end belongs to them. Prefixes are decoded, since a token's characters may depend on
    the tokens before it, and from the end, where the words mostly are.
    """
    ended = ids[-1] == template.end or template.text(ids[-1:]) == ""
    body = ids[:-1] if ended else ids
    text = template.text(body)
    start, end = answer_span(text, parse)
    start = len(text[:start].rstrip(" \t"))
    first = len(body)
    while len(template.text(body[:first])) > start:
        first -= 1
    first += len(template.text(body[:first])) < start
    last = first
    while not template.text(body[:last]).startswith(text[:end]):
        last += 1
    return np.array([first <= n < last for n in range(len(body))] + [True] * ended)
