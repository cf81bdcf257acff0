"""Finds the sampled tokens that say the action, those of a reply's last line with a word, by decoding them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.types import Tokens


def action_only(tokens: Tokens, template: ChatTemplate) -> Tokens:
    """``tokens`` with a mask of only the sampled tokens in each reply's last line with a word, and of its end."""
    mask_N = np.zeros_like(tokens.mask_N)
    for start, end in tokens.reply_spans:
        mask_N[start:end] = _marks(tokens.ids_N[start:end].tolist(), template) * tokens.sampled_N[start:end]
    return dataclasses.replace(tokens, mask_N=mask_N)


def _marks(ids: Sequence[int], template: ChatTemplate) -> np.ndarray:
    """True on the last line with a word, else the last that is not blank, and on the end token of a reply. Shape (N,).

    A code fence or a bracket below the answer holds no word.
    A token that also holds text before the line is excluded, since it may hold reasoning. The search starts at the end,
    where the line is, and decodes prefixes, since a token's characters may depend on the tokens before it.
    """
    ended = ids[-1] == template.end or template.text(ids[-1:]) == ""
    body = ids[:-1] if ended else ids
    words = template.text(body).rstrip()
    spoken = next((n for n in range(len(words) - 1, -1, -1) if words[n].isalnum()), len(words))
    words = words[: spoken + 1] + words[spoken + 1 :].partition("\n")[0].rstrip()
    line = words.rfind("\n") + 1
    first = len(body)
    while len(template.text(body[:first])) > line:
        first -= 1
    first += len(template.text(body[:first])) < line
    last = first
    while not template.text(body[:last]).startswith(words):
        last += 1
    return np.array([first <= n < last for n in range(len(body))] + [True] * ended)
