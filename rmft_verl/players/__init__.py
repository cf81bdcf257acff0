"""Players that read numbers instead of words, for comparison with language models.

A player is used for one episode and reads the rules of the game from ``Observation.spec``. A new player takes one file,
one line in ``BANDIT``, ``CONTEXTUAL`` or ``FULL_INFORMATION`` and one test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rmft_verl.players import thompson
from rmft_verl.players.arms import UNIT_LAWS
from rmft_verl.players.discounted_ucb import DiscountedUCB
from rmft_verl.players.eps_greedy import EpsGreedy
from rmft_verl.players.exp3 import EXP3
from rmft_verl.players.ftl import FTL
from rmft_verl.players.ftpl import FTPL
from rmft_verl.players.ftrl_l2 import FTRLL2
from rmft_verl.players.greedy import Greedy
from rmft_verl.players.hedge import Hedge
from rmft_verl.players.linear_thompson import LinearThompson
from rmft_verl.players.linucb import LinUCB
from rmft_verl.players.restarted_exp3 import RestartedEXP3
from rmft_verl.players.sw_ucb import SlidingWindowUCB
from rmft_verl.players.thompson import Thompson
from rmft_verl.players.ucb1 import UCB1
from rmft_verl.players.ucb1_auer import UCB1Auer
from rmft_verl.players.uniform import Uniform
from rmft_verl.types import GameSpec

if TYPE_CHECKING:
    from rmft_verl.env.play import Player

BANDIT: dict[str, Callable[[np.random.Generator], Player]] = {
    "greedy": Greedy,
    "eps_greedy": EpsGreedy,
    "ucb1": UCB1,
    "ucb1_auer": UCB1Auer,
    "thompson": Thompson,
    "exp3": EXP3,
    "sw_ucb": SlidingWindowUCB,
    "discounted_ucb": DiscountedUCB,
    "restarted_exp3": RestartedEXP3,
}
"""Players of bandits, where only the reward of the pulled arm is revealed; they do not look at a context."""

CONTEXTUAL: dict[str, Callable[[np.random.Generator], Player]] = {
    "linucb": LinUCB,
    "linear_thompson": LinearThompson,
}
"""Players of bandits that show a context before every round (``Observation.context_F``)."""

FULL_INFORMATION: dict[str, Callable[[np.random.Generator], Player]] = {
    "ftl": FTL,
    "hedge": Hedge,
    "ftrl_l2": FTRLL2,
    "ftpl": FTPL,
}
"""Players that choose points of the simplex, for games that reveal all rewards."""

PLAYERS: dict[str, Callable[[np.random.Generator], Player]] = {
    "uniform": Uniform,
    **BANDIT,
    **CONTEXTUAL,
    **FULL_INFORMATION,
}
"""Players that need only a random generator. ``OraclePlayer`` and ``Scripted`` are built by hand."""

LAWS = {"thompson": thompson.LAWS, "exp3": UNIT_LAWS, "restarted_exp3": UNIT_LAWS}
"""Reward laws of the players that do not support all of them."""


def can_play(name: str, spec: GameSpec) -> bool:
    """Whether the player ``name`` of ``PLAYERS`` supports such games; if not, ``act`` raises ``ValueError``."""
    if name in ((*BANDIT, *CONTEXTUAL) if spec.full_information else FULL_INFORMATION):
        return False
    if name in CONTEXTUAL and spec.n_features == 0:
        return False
    return name not in LAWS or spec.reward_law in LAWS[name]


def make_player(name: str, rng: np.random.Generator) -> Player:
    """A fresh player for one episode. ``ValueError`` naming the known ones if ``name`` is not among them."""
    if name not in PLAYERS:
        raise ValueError(f"player {name!r} is unknown. Known: {', '.join(PLAYERS)}.")
    return PLAYERS[name](rng)
