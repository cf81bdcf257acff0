"""Players that read numbers instead of words: what a language model is compared with.

Each is single-use (one per episode) and learns the rules of the game from ``Observation.spec``. Adding one is one file,
one line in ``PLAYERS`` and one test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rmft_verl.players.greedy import Greedy
from rmft_verl.players.thompson import Thompson
from rmft_verl.players.ucb1 import UCB1
from rmft_verl.players.uniform import Uniform

if TYPE_CHECKING:
    from rmft_verl.play import Player

PLAYERS: dict[str, Callable[[np.random.Generator], Player]] = {
    "uniform": Uniform,
    "greedy": Greedy,
    "ucb1": UCB1,
    "thompson": Thompson,
}
"""Players that need nothing but a generator. ``OraclePlayer`` and ``Scripted`` are built by hand."""


def make_player(name: str, rng: np.random.Generator) -> Player:
    """A fresh player for one episode. ``ValueError`` naming the known ones if ``name`` is not among them."""
    if name not in PLAYERS:
        raise ValueError(f"player {name!r} is unknown. Known: {', '.join(PLAYERS)}.")
    return PLAYERS[name](rng)
