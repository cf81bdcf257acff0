"""At least 100,000 replies through every parser: nothing raises, and what is read is an action of the game.

Hypothesis draws the seed of a batch of ``BATCH`` replies, which are put together from what such replies are made of and
from arbitrary characters; it finds and shrinks a failing batch like any other example. Plain random text is drawn by
Hypothesis itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmft_verl.env import Env, load_env
from rmft_verl.env.check.replies import NUMBERS, ODD, parsed

BATCH, BATCHES, TEXTS = 250, 420, 500
"""420 batches of 250 are 105,000 replies a parser."""

GAMES = {"mab": {"arms": [5]}, "nsmab": {"arms": [2]}, "fol": {"actions": [4]}}
"""nsmab reads as mab does: a few batches show that."""

WORDS = (
    "Action",
    "Policy",
    "action",
    "the",
    "I choose",
    "and",
    "<|im_end|>",
    "<|im_start|>user\n",
    "Reward: 1",
    "</s>",
)
MARKS = (*":*`-%/.,;=#()[]{}<>|\"'\\ \n\t", "\u2028", "：", "→", "\u0301", "\u202e", "\x00", "\ud800", "🙂")


def game(name: str) -> tuple[Env, tuple[str, ...]]:
    env_class = load_env(name)
    scenario = env_class.Generator(**GAMES[name]).draw(np.random.default_rng(7))
    return env_class(scenario, 0), scenario.actions


def replies(seed: int, names: tuple[str, ...]) -> list[str]:
    rng = np.random.default_rng(seed)
    pieces = (*names, *names, *WORDS, *WORDS, *MARKS, *MARKS, *NUMBERS, *ODD, "Action: ", "Policy: ", *names)
    drawn = []
    for _ in range(BATCH):
        parts = [pieces[int(i)] for i in rng.integers(len(pieces), size=int(rng.integers(1, 16)))]
        if rng.random() < 0.3:  # an answer as it should be, somewhere in the noise
            shares = rng.dirichlet(np.ones(len(names))).round(int(rng.integers(1, 4)))
            answer = ", ".join(f"{name} {share}" for name, share in zip(names, shares, strict=True))
            right = f"Policy: {answer}" if rng.random() < 0.5 else f"Action: {names[int(rng.integers(len(names)))]}"
            parts.insert(int(rng.integers(len(parts) + 1)), right)
        if rng.random() < 0.2:
            parts.append("".join(map(chr, rng.integers(0x110000, size=8))))
        drawn.append("".join(parts))
    return drawn


@pytest.mark.parametrize("name", GAMES)
def test_no_reply_raises_or_names_what_is_no_action(name: str) -> None:
    env, names = game(name)
    full_information = name == "fol"
    read = 0

    @settings(max_examples=BATCHES if name != "nsmab" else 20, deadline=None, database=None)
    @given(st.integers(0, 2**32 - 1))
    def fuzz(seed: int) -> None:
        nonlocal read
        for text in replies(seed, names):
            read += parsed(env, text, len(names), full_information) is not None

    fuzz()
    assert read > 100  # the noise does not hide every answer: both outcomes were tried


@pytest.mark.parametrize("name", GAMES)
def test_no_text_raises(name: str) -> None:
    env, names = game(name)

    @settings(max_examples=TEXTS, deadline=None, database=None)
    @given(st.text(st.characters(codec=None, exclude_categories=()), max_size=300))
    def fuzz(text: str) -> None:
        for reply in (text, f"Action: {text}", f"Policy: {text}"):
            parsed(env, reply, len(names), name == "fol")

    fuzz()
