"""What is compared: recipes with overrides, or runs that were made before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmft_verl.players import PLAYERS
from rmft_verl.players.oracle import OraclePlayer
from rmft_verl.setup.recipe import find_recipes, known_keys
from rmft_verl.types import RunError

BASE = "base"
"""Row of the models before training."""

GIVEN = ("seed", "root", "name", "recipe", "dry_run")
"""Keys of a training run that the comparison sets itself."""

FORM = "write RECIPE, LABEL=RECIPE, LABEL=RECIPE,key=value,... or the path of a run"

_LABEL = re.compile(r"[A-Za-z0-9_+-]+")


@dataclass(frozen=True)
class Arm:
    """One thing compared: a recipe to be trained once a seed, or runs there are."""

    label: str
    recipe: str = ""
    overrides: tuple[str, ...] = ()
    """``key=value``, those of the arm after those of all."""
    runs: tuple[Path, ...] = ()
    """Existing run directories, one a seed; then ``recipe`` is empty."""


def parse_arms(words: Sequence[str]) -> list[Arm]:
    """The arms among ``words``; a ``key=value`` among them goes to every recipe arm.

    Raises ``RunError``, in one line, for what is neither, for what could be both and for labels that collide.
    """
    overrides = [word for word in words if _is_override(word)]
    arms = [_parse(word, overrides) for word in words if word not in overrides]
    if not arms:
        raise RunError(f"nothing to compare: {FORM}")
    if overrides and not any(arm.recipe for arm in arms):
        raise RunError(f"{overrides[0]}: all arms are finished runs, which take no overrides")
    labels = [arm.label for arm in arms]
    for label in labels:
        if labels.count(label) > 1:
            raise RunError(f"two arms are labeled {label!r}: give one another LABEL=")
        if label in (BASE, OraclePlayer.name, *PLAYERS):
            raise RunError(f"label {label!r} is that of a reference in the table: choose another LABEL=")
    return arms


def split_list(text: str) -> list[str]:
    """``text`` cut at its commas, those within brackets or quotes left alone."""
    pieces, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        if letter == "," and depth == 0 and not quote:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def _is_override(word: str) -> bool:
    """Whether a word is a ``key=value`` of the configuration; ``RunError`` if it could be an arm as well."""
    key, equals, value = word.partition("=")
    if not equals or "/" in key:
        return False
    known = key in known_keys()
    if known and (_is_recipe(split_list(value)[0]) or _is_path(split_list(value)[0])):
        raise RunError(f"{word!r} is ambiguous: {key!r} is a configuration key, so it can label no arm")
    if key in GIVEN:
        raise RunError(f"{word}: compare sets {key} itself" + (": use --seeds" if key == "seed" else ""))
    return known or "." in key


def _parse(word: str, overrides: Sequence[str]) -> Arm:
    if _is_path(word):
        if _is_recipe(word):
            raise RunError(f"arm {word!r} is ambiguous, a recipe and a path: write LABEL={word} or ./{word}")
        return Arm(_plain(Path(word).resolve().name, word), runs=(Path(word),))
    label, equals, rest = word.partition("=")
    what, *more = split_list(rest if equals else word)
    label = _plain(label if equals else what, word)
    if _is_recipe(what):
        for pair in more:
            key, pair_equals, _ = pair.partition("=")
            if not pair_equals:
                raise RunError(f"arm {word!r}: {pair!r} is no key=value")
            if key in GIVEN:
                raise RunError(f"arm {word!r}: compare sets {key} itself")
        return Arm(label, what, (*overrides, *more))
    if equals and all(_is_path(path) for path in (what, *more)):
        return Arm(label, runs=tuple(Path(path) for path in (what, *more)))
    raise RunError(
        f"arm {word!r}: {what!r} is no recipe (known: {', '.join(sorted(find_recipes()))}) and no run directory: {FORM}"
    )


def _plain(label: str, word: str) -> str:
    if not _LABEL.fullmatch(label):
        raise RunError(f"arm {word!r}: label {label!r} must be letters, digits, _, + and -; write LABEL=...")
    return label


def _is_recipe(text: str) -> bool:
    """A recipe, or several laid over each other (``mab_tiny+dpo``)."""
    known = find_recipes()
    return all(part in known for part in text.split("+"))


def _is_path(text: str) -> bool:
    """A path is meant by a slash before any other sign, or by being there."""
    return "/" in re.split("[=,]", text)[0] or (text != "" and Path(text).exists())
