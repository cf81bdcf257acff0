"""Verbal domains: complete, distinct, pinned where results rest on them."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import replace
from string import Formatter

import numpy as np
import pytest

from env_plugins.contexts import CONTEXTS, SPLITS, Context, action_names, shown
from env_plugins.contexts.context import UNSEEN_NAMES

ALL = list(CONTEXTS.values())
NEUTRAL = {"buttons", "drawers", "symbols", "dials", "levers", "doors"}
POOLS = [*UNSEEN_NAMES, *UNSEEN_NAMES.values()]


def by_key(context: Context) -> str:
    return context.key


def keys(split: str) -> list[str]:
    return [context.key for context in SPLITS[split]]


def texts(context: Context) -> list[str]:
    return [
        getattr(context, name) for name in ("scene", "binary", "graded", "report", "shares", "revealed", "hint", "unit")
    ]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def placeholders(text: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}


@pytest.mark.parametrize(("split", "digest"), [("basic", "e0da47208343b264"), ("basic_heldout", "8cfabcb2a05ec6a9")])
def test_published_bandit_texts_stay(split: str, digest: str) -> None:
    told = [(c.key, c.names, c.option, c.scene, c.binary, c.graded, c.report) for c in SPLITS[split]]
    assert hashlib.sha256(repr(told).encode()).hexdigest()[:16] == digest
    assert all((context.unit, context.scale) == ("", 1.0) for context in SPLITS[split])


def test_every_domain_is_in_exactly_one_split() -> None:
    three = keys("train") + keys("validation") + keys("heldout")
    assert sorted(three) == sorted(CONTEXTS) and len(three) == len(set(three)) >= 40
    assert keys("train")[:12] == keys("basic") and len(keys("train")) >= 24
    assert keys("heldout")[:4] == keys("basic_heldout") and len(keys("heldout")) >= 10
    assert len(keys("validation")) >= 6
    assert len(NEUTRAL & set(keys("train"))) >= 3 and len(NEUTRAL & set(keys("heldout"))) >= 2
    assert {context.names for context in SPLITS["train"]} >= {context.names for context in ALL}


@pytest.mark.parametrize("field", ["option", "scene", "shares", "binary", "graded", "revealed", "hint"])
def test_no_two_domains_say_the_same(field: str) -> None:
    assert len({getattr(context, field) for context in ALL}) == len(ALL) >= 40


@pytest.mark.parametrize("context", ALL, ids=by_key)
def test_texts_are_complete(context: Context) -> None:
    assert placeholders(context.scene) == placeholders(context.shares) == {"K", "T", "names"}
    assert placeholders(context.report) == {"name", "reward"}
    for text in (context.binary, context.graded, context.revealed, context.hint):
        assert not placeholders(text)
    for text in texts(context)[:-1]:
        assert text[0].isupper() or text.startswith("{")
        assert text.endswith(".") and "  " not in text and text.isascii()
    assert re.search(r"\b1\b.*\b0\b", context.binary)
    assert "sum to 1" in context.shares
    assert context.option in context.report.lower().split() and context.option in words(context.hint)
    assert re.fullmatch(r"[a-z]+", context.option)
    for text in (context.scene, context.shares):
        told = text.format(K=3, T=20, names="amber, blue, red")
        assert all(part in told for part in (" 3 " if told[0] != "3" else "3 ", "20 ", "amber, blue, red"))


@pytest.mark.parametrize("context", ALL, ids=by_key)
def test_graded_texts_fit_the_unit(context: Context) -> None:
    if context.scale == 1:
        assert context.unit == "" and "number" in context.graded
        assert re.search(r"between 0 and 1\b", context.revealed)
        return
    assert context.unit in words(context.graded) and context.unit in words(context.revealed)
    assert f"from 0 to {context.scale:g} " in context.revealed
    assert context.scale * 100 == int(context.scale * 100) > 100
    rewards = [i / 100 for i in range(-120, 121)]
    read = [
        float(shown(context, reward).removesuffix(context.unit).removesuffix(context.unit[:-1])) for reward in rewards
    ]
    assert np.round(np.array(read) / context.scale, 6).tolist() == rewards


@pytest.mark.parametrize("context", ALL, ids=by_key)
def test_hints_name_no_method(context: Context) -> None:
    told = words(context.hint)
    assert told & {"seldom", "hardly", "rarely", "barely", "few", "little"} and "may" in told
    for stem in ("regret", "explor", "exploit", "greed", "bandit", "algorithm", "hedg", "ucb", "thompson", "optimis"):
        assert not any(word.startswith(stem) for word in told)
    assert context.hint.count(".") == 1


def test_pools_are_disjoint() -> None:
    assert len(POOLS) == 10
    for pool in POOLS:
        assert len(pool) == len(set(pool)) == 20
        assert all(re.fullmatch(r"[a-z]+", word) for word in pool)
    assert not any(set(a) & set(b) for a, b in itertools.combinations(POOLS, 2))


@pytest.mark.parametrize("context", ALL, ids=by_key)
def test_no_name_means_something_in_its_story(context: Context) -> None:
    assert context.names in UNSEEN_NAMES
    assert not any(context.option in pool for pool in POOLS)
    told = set().union(*map(words, [*texts(context), context.option]))
    for word in (*context.names, *UNSEEN_NAMES[context.names]):
        assert not told & {word, word + "s"}


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("n", [1, 2, 20, 21, 40, 47, 500])
def test_any_number_of_actions_has_a_name(split: str, n: int) -> None:
    for context in (CONTEXTS["buttons"], CONTEXTS["levers"]):
        names = action_names(context, n, np.random.default_rng(n), split)
        pool = context.names if split == "train" else UNSEEN_NAMES[context.names]
        assert len(names) == len(set(names)) == n
        assert all(re.fullmatch(r"[a-z]+([2-9]|1\d|2[0-5])?", name) for name in names)
        assert {name.rstrip("0123456789") for name in names} <= set(pool)
        assert sum(name.isalpha() for name in names) == min(n, 20)  # numbers only once the words are used up


def test_names_in_the_published_draws_stay() -> None:
    pool = CONTEXTS["buttons"].names
    assert action_names(CONTEXTS["buttons"], 3, np.random.default_rng(0)) == ("bronze", "teal", "coral")
    for n in range(1, 21):
        rng, other = np.random.default_rng(n), np.random.default_rng(n)
        assert action_names(CONTEXTS["buttons"], n, rng) == tuple(pool[i] for i in other.permutation(20)[:n])
        assert rng.random() == other.random()


def test_numbered_names_do_not_tell_late_actions_from_early_ones() -> None:
    firsts = [action_names(CONTEXTS["buttons"], 40, np.random.default_rng(seed))[0] for seed in range(400)]
    assert 150 < sum(name.isalpha() for name in firsts) < 250  # 200 expected, standard deviation 10


def test_another_split_of_names_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"^names='test': use train or heldout\.$"):
        action_names(CONTEXTS["buttons"], 3, np.random.default_rng(0), "test")


@pytest.mark.parametrize(
    ("unit", "scale", "reward", "told"),
    [
        ("", 1.0, 0.5, "0.50"),
        ("", 1.0, -1.234, "-1.23"),
        ("", 1.0, -0.001, "0.00"),
        ("", 1.0, -0.0, "0.00"),
        ("", 1.0, 1, "1.00"),
        ("dollars", 100.0, 0.29, "29 dollars"),  # 0.29 * 100 is 28.999999999999996
        ("dollars", 100.0, -0.005, "-1 dollar"),  # the float is just below -0.005
        ("dollars", 100.0, -0.004, "0 dollars"),
        ("dollars", 100.0, 0.01, "1 dollar"),
        ("dollars", 100.0, 12345.67, "1234567 dollars"),
        ("percent", 100.0, 0.01, "1 percent"),
        ("seconds", 10.0, 0.1, "1.0 seconds"),
        ("seconds", 10.0, -0.57, "-5.7 seconds"),
        ("minutes", 60.0, 0.53, "31.8 minutes"),
        ("points", 20.0, 0.07, "1.4 points"),
        ("points", 25.0, 0.07, "1.75 points"),
        ("points", 2.5, 0.07, "0.175 points"),
        ("liters", 500.0, 0.53, "265 liters"),
        ("grams", 1000.0, -0.53, "-530 grams"),
        ("", 100.0, 0.53, "53"),
    ],
)
def test_shown(unit: str, scale: float, reward: float, told: str) -> None:
    context = replace(CONTEXTS["buttons"], unit=unit, scale=scale)
    assert shown(context, reward) == told
    assert shown(context, np.float64(reward)) == told
