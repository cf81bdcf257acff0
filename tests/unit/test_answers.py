"""What structured decoding lets a model choose from: every arm, or a grid of distributions, as the game reads them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rmft_verl.env import load_env
from rmft_verl.env.answers import MOST, answer_span, every_answer, grid


@pytest.mark.parametrize(("n_actions", "points"), [(2, 101), (3, 231), (4, 286), (5, 126), (20, 210), (2000, 2000)])
def test_the_grid_is_the_finest_that_fits(n_actions: int, points: int) -> None:
    """As many as stars and bars say: C(steps + n - 1, n - 1) for 100, 20, 10, 5 and 2 steps, and the corners."""
    found = grid(n_actions)
    assert len(found) == len(set(found)) == points
    assert all(math.fsum(point) == pytest.approx(1) and min(point) >= 0 for point in found)
    assert points <= MOST or all(max(point) == 1 for point in found)


@pytest.mark.parametrize("name", ["mab", "nsmab", "fol"])
@pytest.mark.parametrize("seed", range(3))
def test_the_game_reads_every_answer_as_what_was_said(name: str, seed: int) -> None:
    env_class = load_env(name)
    scenario = env_class.Generator().draw(np.random.default_rng(seed))
    env = env_class(scenario, 0)
    spec = env.reset().spec
    lines = every_answer(env, spec)
    read = [env.parse(line) for line in lines]
    if spec.full_information:
        assert len(lines) == len(grid(spec.n_actions))
        for action, point in zip(read, grid(spec.n_actions), strict=True):
            assert isinstance(action, tuple) and np.allclose(action, point, atol=1e-9)
    else:
        assert read == list(range(spec.n_actions))


@pytest.mark.parametrize("name", ["mab", "nsmab", "fol"])
def test_the_words_that_say_an_action(name: str) -> None:
    """Every answer of a game is found whole, whatever is said around it."""
    env_class = load_env(name)
    env = env_class(env_class.Generator().draw(np.random.default_rng(0)), 0)
    spec = env.reset().spec
    for line in every_answer(env, spec)[:20]:
        for before, after in (
            ("", ""),
            ("It seems so.\n", ""),
            ("", "\nI hope it pays."),
            ("So:\n```\n", "\n```\nDone"),
        ):
            text = before + line + after
            assert answer_span(text, env.parse) == (len(before), len(before) + len(line)), text
