"""The arms of a comparison: recipes with overrides, or existing runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmft_verl.players import PLAYERS
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.setup.recipe import find_recipes
from rmft_verl.types import RunError

BASE = "base"
"""Name of the row of the models before training."""

GIVEN = ("seed", "root", "name", "recipe", "dry_run")
"""Keys of a training run that the comparison sets itself."""

_LABEL = re.compile(r"[A-Za-z0-9_+-]+")


@dataclass(frozen=True)
class Arm:
    """One arm: a recipe to be trained once per seed, or existing runs."""

    label: str
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    """``key=value``: those of all arms, then the arm's own."""
    runs: tuple[Path, ...] = ()
    """Existing run directories, one per seed; ``recipe`` is then empty."""


def make_arms(
    recipes: Sequence[str], arms: Sequence[Sequence[str]], runs: Sequence[Sequence[str]], overrides: Sequence[str]
) -> list[Arm]:
    """The arms of a command line: ``RECIPE``, ``--arm LABEL RECIPE key=value ...``, ``--run LABEL RUN ...``.

    ``overrides`` apply to every recipe. Raises ``RunError`` for unusable words and for labels that collide.
    """
    made = [_recipe_arm([recipe, recipe], overrides) for recipe in recipes]
    made += [_recipe_arm(words, overrides) for words in arms]
    made += [_run_arm(words) for words in runs]
    if not made:
        raise RunError("nothing to compare: name a RECIPE, --arm LABEL RECIPE key=value ... or --run LABEL RUN ...")
    if overrides and not any(arm.recipe for arm in made):
        raise RunError(f"--set {overrides[0]}: all arms are finished runs, which take no overrides")
    labels = [arm.label for arm in made]
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise RunError(f"label {label!r} must be letters, digits, _, + and -")
        if labels.count(label) > 1:
            raise RunError(f"two arms are labeled {label!r}: give one another label")
        if label in (BASE, OraclePlayer.name, *PLAYERS):
            raise RunError(f"label {label!r} is that of a reference in the table: choose another")
    return made


def _recipe_arm(words: Sequence[str], overrides: Sequence[str]) -> Arm:
    if len(words) < 2:
        raise RunError(f"--arm {' '.join(words)}: write --arm LABEL RECIPE key=value ...")
    label, recipe, *own = words
    known = find_recipes()
    if not all(part in known for part in recipe.split("+")):
        raise RunError(f"arm {label}: {recipe!r} is no recipe (known: {', '.join(sorted(known))})")
    for pair in (*overrides, *own):
        key, equals, _ = pair.partition("=")
        if not equals:
            raise RunError(f"arm {label}: {pair!r} is no key=value")
        if key in GIVEN:
            raise RunError(f"{pair}: compare sets {key} itself" + (": use --seeds" if key == "seed" else ""))
    return Arm(label, recipe, (*overrides, *own))


def _run_arm(words: Sequence[str]) -> Arm:
    if len(words) < 2:
        raise RunError(f"--run {' '.join(words)}: write --run LABEL RUN ..., a finished run a seed")
    return Arm(words[0], runs=tuple(Path(path) for path in words[1:]))
