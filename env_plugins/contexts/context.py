"""A verbal domain, and the pools its actions are named from."""

from __future__ import annotations

from dataclasses import dataclass


def _pool(words: str) -> tuple[str, ...]:
    return tuple(words.split())


COLORS = _pool(
    "amber azure black blue bronze brown coral cream crimson cyan gray green indigo ivory lilac olive orange pink red "
    "teal"
)
TREES = _pool(
    "alder ash aspen beech birch cedar cherry elm fir hazel larch linden maple oak pine poplar spruce walnut willow yew"
)
BIRDS = _pool(
    "crane crow dove eagle falcon finch goose hawk heron jay kite lark owl quail raven robin sparrow stork swan wren"
)
STONES = _pool(
    "agate basalt beryl chalk clay copper flint garnet granite iron jade marble nickel onyx opal pearl quartz slate "
    "tin zinc"
)
PLACES = _pool(
    "bay brook cliff cove creek dale dune fjord glen grove harbor hill island lagoon lake marsh meadow reef ridge "
    "valley"
)
"""Five pools of twenty plain words. Held-out contexts share them: new there is the story, not the alphabet."""


@dataclass(frozen=True)
class Context:
    """One verbal domain, told by bandits (``scene``) and by full-information games (``shares``).

    ``scene`` and ``shares`` may use {K}, {T} and {names}; ``report`` uses {name} and {reward}.
    """

    key: str
    names: tuple[str, ...]
    """Pool the action names are drawn from, without replacement."""
    option: str
    """What one action is called, singular."""
    scene: str
    """Bandits: what there is to choose from, one choice a round."""
    binary: str
    """What a reward of 1 or 0 stands for."""
    graded: str
    """What a real-valued reward stands for."""
    report: str
    """What one choice paid."""
    shares: str = ""
    """Full information: what is split over the options in each round."""
    revealed: str = ""
    """Full information: what is learned of every option after a round, without the numbers."""
    hint: str = ""
    """Suggestive framing: says in the domain's words that untried options may be better than they look."""
    unit: str = ""
    """Unit of a graded report, such as ``coins``; empty for a bare number."""
    scale: float = 1.0
    """Graded reports show the reward times this; the story says so through ``unit``."""
