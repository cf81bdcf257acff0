"""A verbal domain, and the pools of names for its actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np


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
"""Five pools of twenty plain words. Held-out contexts use them too: only their stories are new."""

ANIMALS = _pool(
    "badger beaver bison camel donkey ferret fox gecko koala lemur llama lynx moose otter panda rabbit tapir walrus "
    "weasel zebra"
)
TOOLS = _pool(
    "anvil auger awl chisel clamp hammer hatchet hoe lathe mallet pliers pulley rake rasp scythe shovel sickle spade "
    "trowel wrench"
)
FLOWERS = _pool(
    "aster begonia camellia carnation crocus dahlia daisy foxglove freesia hyacinth iris jasmine lavender lily orchid "
    "peony poppy primrose tulip zinnia"
)
INSTRUMENTS = _pool(
    "accordion banjo bassoon bugle cello clarinet cornet fiddle flute guitar harp lute lyre oboe piano trumpet tuba "
    "viola violin zither"
)
FABRICS = _pool(
    "burlap calico canvas cashmere chiffon corduroy denim flannel fleece gauze jersey lace linen muslin nylon satin "
    "silk tweed velvet wool"
)
"""Five pools of names that no training scenario uses."""

UNSEEN_NAMES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    COLORS: ANIMALS,
    TREES: TOOLS,
    BIRDS: FLOWERS,
    STONES: INSTRUMENTS,
    PLACES: FABRICS,
}
"""Pool -> the pool that replaces it if names are held out."""

NAME_SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Context:
    """One verbal domain, used by bandits (``scene``) and by full-information games (``shares``).

    ``scene`` and ``shares`` may use {K}, {T} and {names}; ``report`` uses {name} and {reward}.
    """

    key: str
    names: tuple[str, ...]
    """Pool from which action names are drawn without replacement."""
    option: str
    """Noun for one action, singular."""
    scene: str
    """Bandits: the options, of which the player chooses one per round."""
    binary: str
    """What a reward of 1 or 0 stands for."""
    graded: str
    """What a real-valued reward stands for."""
    report: str
    """Bandits: what one choice paid."""
    shares: str
    """Full information: what the player splits over the options in each round."""
    revealed: str
    """Full information: what a round reveals about every option, and in which range."""
    hint: str
    """Suggestive framing: says in the domain's words that untried options may be better than they look."""
    unit: str = ""
    """Unit of a graded report, a plural such as ``coins``; empty for a bare number."""
    scale: float = 1.0
    """Factor of the reward in graded reports, which makes it a number of ``unit``."""


def action_names(context: Context, n: int, rng: np.random.Generator, split: str = "train") -> tuple[str, ...]:
    """``n`` distinct names in random order, so that a name says nothing about its action.

    They come from the context's pool, or with ``split`` "heldout" from a pool that no training scenario uses. If ``n``
    exceeds the pool, names such as ``amber2`` and ``amber3`` follow. Raises ``ValueError`` for another split.
    """
    if split not in NAME_SPLITS:
        raise ValueError(f"names={split!r}: use {' or '.join(NAME_SPLITS)}.")
    pool = context.names if split == "train" else UNSEEN_NAMES[context.names]
    names: list[str] = []
    while len(names) < n:
        suffix = str(len(names) // len(pool) + 1) if names else ""
        names += [pool[i] + suffix for i in rng.permutation(len(pool))[: n - len(names)]]
    if n > len(pool):  # otherwise the numbers would tell early actions from late ones
        names = [names[i] for i in rng.permutation(n)]
    return tuple(names)


def shown(context: Context, reward: float) -> str:
    """Text of a graded reward: rounded to two decimals, times the scale, with the unit.

    The text has just enough decimals to lose nothing: none at scale 100, two at scale 1.
    """
    number = f"{round(float(reward), 2) * context.scale + 0.0:.{_decimals(context.scale)}f}"  # + 0.0: -0.0 becomes 0.0
    if not context.unit:
        return number
    return f"{number} {context.unit.removesuffix('s') if number in ('1', '-1') else context.unit}"


@lru_cache
def _decimals(scale: float) -> int:
    """Number of decimals of ``scale`` / 100."""
    exponent = (Decimal(str(scale)) / 100).normalize().as_tuple().exponent
    return max(0, -int(exponent))
