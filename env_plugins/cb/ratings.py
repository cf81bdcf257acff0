"""Tables of ratings, users by items, and their factors: the user-item games are drawn from them.

The factors are those of EVOLvE's contextual task as its released code makes them: the items that are rated most, a
rating of 0 where there is none, and a truncated singular value decomposition. The data of that task may not be shipped;
``synthetic`` stands in for it, and ``read`` takes a file that you have.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

SEED = 0xCB
"""Seed of the synthetic table, which is the same for all scenarios, as a data set is."""

USERS, ITEMS, RANK = 400, 60, 5
"""Size of the synthetic table, and the number of tastes behind its ratings."""


@lru_cache(maxsize=4)
def table(path: str) -> np.ndarray:
    """``read(path)``, or ``synthetic()`` if the path is empty."""
    return read(path) if path else synthetic()


def synthetic() -> np.ndarray:
    """Ratings 1 to 5, and 0 where a user did not rate an item; shape (``USERS``, ``ITEMS``), columns in order of count.

    A rating is 3.2 plus the item's level and <tastes of the user, traits of the item> with noise, rounded and clipped.
    An item is rated by its own share of users, from 0.3 to 0.9.
    """
    rng = np.random.default_rng(SEED)
    tastes, traits = rng.standard_normal((USERS, RANK)), rng.standard_normal((ITEMS, RANK)) / np.sqrt(RANK)
    liking = 3.2 + 0.5 * rng.standard_normal(ITEMS) + tastes @ traits.T + 0.5 * rng.standard_normal((USERS, ITEMS))
    rated = rng.random((USERS, ITEMS)) < rng.uniform(0.3, 0.9, ITEMS)
    return by_count(np.where(rated, np.clip(np.round(liking), 1, 5), 0.0))


def read(path: str) -> np.ndarray:
    """The ratings in a file, 0 where there is none; shape (users, items), columns in order of count.

    One rating a line: user, item and rating, then what else there is, separated by ``::``, tabs or commas, as in the
    files ``ratings.dat``, ``u.data`` and ``ratings.csv`` of MovieLens. A first line without numbers is a header.
    ``ValueError`` for a file that is missing or holds another line.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"env.options: ratings={path!r} cannot be read ({error}): name a file of ratings") from error
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    found: list[tuple[int, int, float]] = []
    for number, line in enumerate(lines, start=1):
        user, item, rating, *_ = (*line.replace("::", "\t").replace(",", "\t").split("\t"), "", "", "")
        try:
            value = float(rating)
        except ValueError:
            if number == 1:
                continue
            raise ValueError(f"env.options: ratings={path!r}, line {number}: write user, item, rating") from None
        found.append((users.setdefault(user, len(users)), items.setdefault(item, len(items)), value))
    rated = np.zeros((len(users), len(items)))
    for row, column, value in found:
        rated[row, column] = value
    return by_count(rated)


def by_count(rated: np.ndarray) -> np.ndarray:
    """The table with its items in order of how many users rated them, the most first."""
    return np.ascontiguousarray(rated[:, np.argsort(-(rated > 0).sum(axis=0), kind="stable")])


@lru_cache(maxsize=16)
def factors(path: str, items: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of the users, shape (users, rank), and weights of the items rated most, shape (items, rank).

    features @ weights.T is the best approximation of ``table(path)[:, :items]`` of that rank. Over users, each feature
    has a mean square of 1; each feature's sign is the one for which its largest weight is positive.
    """
    rated = table(path)[:, :items]
    left, sizes, right = np.linalg.svd(rated, full_matrices=False)
    unit = np.sqrt(len(rated))
    features, weights = left[:, :rank] * unit, (sizes[:rank, None] * right[:rank]).T / unit
    signs = np.sign(weights[np.abs(weights).argmax(axis=0), np.arange(rank)])
    return features * signs, weights * signs
