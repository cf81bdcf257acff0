"""The parser of policies: written-out replies, and fuzzing (RMFT_FUZZ=100000 for a long run)."""

from __future__ import annotations

import math
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from env_plugins.fol.parsing import parse_policy

FUZZ = int(os.environ.get("RMFT_FUZZ", "5000"))
"""Random replies, half of them arbitrary text and half made of the parser's own pieces; two an example."""

PAIR = ("amber", "azure")
THREE = ("amber", "azure", "red")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("I split it.\nPolicy: amber 0.7, azure 0.3", (0.7, 0.3)),
        ("Policy: azure 0.3, amber 0.7", (0.7, 0.3)),
        ("policy: AMBER .7, Azure .3.", (0.7, 0.3)),
        ("Policy: amber: 0.7, azure: 0.3", (0.7, 0.3)),
        ("Policy: amber=0.7; azure = 0.3", (0.7, 0.3)),
        ("Policy: amber -> 0.7 | azure → 0.3", (0.7, 0.3)),
        ("Policy: amber - 0.7, azure – 0.3", (0.7, 0.3)),
        ("Policy: amber (0.7) and azure (0.3)", (0.7, 0.3)),
        ("Policy: amber 70%, azure 30 %", (0.7, 0.3)),
        ("Policy: amber 70%, azure 0.3", (0.7, 0.3)),
        ("Policy: amber 7/10, azure 3 / 10", (0.7, 0.3)),
        ("Policy: amber 7e-1, azure 3.0E-1", (0.7, 0.3)),
        ("Policy: amber 1", (1.0, 0.0)),
        ("Policy: azure 100%", (0.0, 1.0)),
        ("Policy: azure 1.0, ...", (0.0, 1.0)),
        ("Policy: amber 1., azure 0.", (1.0, 0.0)),
        ("Policy: [0.7, 0.3]", (0.7, 0.3)),
        ("Policy: (0.7,0.3)", (0.7, 0.3)),
        ("Policy: 0.7 0.3", (0.7, 0.3)),
        ("Policy: 70%, 30%", (0.7, 0.3)),
        ("Policy: [1/2, 1/2]", (0.5, 0.5)),
        ("Policy: 0,1", (0.0, 1.0)),
        ("**Policy:** **amber** 0.7, **azure** 0.3", (0.7, 0.3)),
        ("**Policy**: `amber 0.7, azure 0.3`", (0.7, 0.3)),
        ("__Policy:__ _amber_ 0.7, _azure_ 0.3", (0.7, 0.3)),
        ("### Policy — amber 0.7, azure 0.3", (0.7, 0.3)),
        ("Policy =\u00a0amber\u20030.7, azure 0.3", (0.7, 0.3)),
        ("Policy：ａｍｂｅｒ ０．７，azure：0.3", (0.7, 0.3)),
        ('{"policy": {"amber": 0.7, "azure": 0.3}}', (0.7, 0.3)),
        ("<b>Policy: <amber 0.7> <azure 0.3>", (0.7, 0.3)),
        ("Policy: amber 1, azure 0\nNo:\nPolicy: amber 0, azure 1", (0.0, 1.0)),
        ("Policy: amber 1 Policy: azure 1", (0.0, 1.0)),
        ("Policy: amber 1\nLet us see.", (1.0, 0.0)),
    ],
)
def test_reads(text: str, policy: tuple[float, ...]) -> None:
    assert parse_policy(text, PAIR) == pytest.approx(policy, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("Policy: amber 0.33, azure 0.33, red 0.33", (1 / 3, 1 / 3, 1 / 3)),
        ("Policy: 33%, 33%, 33%", (1 / 3, 1 / 3, 1 / 3)),
        ("Policy: amber 0.5, azure 0.5, red 0.02", (0.5 / 1.02, 0.5 / 1.02, 0.02 / 1.02)),
        ("Policy: amber 50%, red 48%", (0.5 / 0.98, 0.0, 0.48 / 0.98)),
        ("Policy: 1/3, 1/3, 1/3", (1 / 3, 1 / 3, 1 / 3)),
        ("Policy: amber 0.5, azure 0.5, red 0.021", None),
        ("Policy: amber 50%, red 47.9%", None),
    ],
)
def test_small_errors_of_the_sum_are_divided_away(text: str, policy: tuple[float, ...] | None) -> None:
    found = parse_policy(text, THREE)
    assert found == policy if policy is None else found == pytest.approx(policy, abs=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "amber 0.7, azure 0.3",
        "Policy:",
        "Policy amber 0.7, azure 0.3",
        "Policy: NAME SHARE, NAME SHARE, ...",
        "Policy: amber",
        "Policy: amber, azure",
        "Policy: amber azure 1",
        "Policy: amber 0.7",
        "Policy: amber 0.7, azure 0.2",
        "Policy: amber 0.7, azure -0.3",
        "Policy: amber 1.3, azure -0.3",
        "Policy: amber 1.3, azure −0.3",
        "Policy: amber: -0, azure 1",
        "Policy: amber +0.7, azure +0.3",
        "Policy: amber 0.7, amber 0.3",
        "Policy: amber 0.7, azure 0.3, azure 0.0",
        "Policy: amber 0.7, blue 0.3",
        "Policy: amber 0.7, azure 0.3, blue 0",
        "Policy: amberish 1",
        "Policy: amber-ish 1",
        "Policy: amber2 1",
        "Policy: amber0.7, azure0.3",
        "Policy: amber 0.7, azure 0.3 amber pays",
        "Policy: amber 0.7 0.3",
        "Policy: amber 0.7, 0.3",
        "Policy: [0.7, 0.2, 0.1]",
        "Policy: [1.0]",
        "Policy: [0.7; 0.3, azure]",
        "Policy: amber 0,7, azure 0,3",
        "Policy: 0,7, 0,3",
        "Policy: 0.3.7",
        "Policy: .3.7",
        "Policy: 0.7-0.3",
        "Policy: 0.7–0.3",
        "Policy: 70, 30",
        "Policy: amber 70, azure 30",
        "Policy: 70:30",
        "Policy: amber nan, azure 1",
        "Policy: nan, nan",
        "Policy: amber inf, azure 0",
        "Policy: amber 1e999, azure 0",
        "Policy: amber 1e999999999, azure 0",
        "Policy: amber 1e308%, azure 1e308%",
        "Policy: 1e308, 1e308",
        "Policy: amber 1/0, azure 0",
        "Policy: amber 0/0, azure 1",
        "Policy: amber 1e-999/1e-999, azure 0",
        "Policy: amber 1/2/2, azure 3/4",
        "Policy: amber 50%%, azure 50%",
        "Policy: amber 0x1, azure 0",
        "Policy: amber 1_0, azure 0",
        "Policy: amber ٠٫٧, azure ٠٫٣",
        "Policy: amber 0.²5, azure .75",
        "Policy: amber ~0.7, azure ~0.3",
        "Policy: uniform",
        "Policy: amber 1\nPolicy: blue 1",
        "Policy: amber 1\nMy policy: trust",
        "my_policy: amber 1",
        "Micropolicy: amber 1",
        "A policy-driven amber 1",
        "Policy -1, 0",
        "Policy: amber 1\x00",
        "Policy: amber 1\udcff",
        "Policy: " + "0" * 31 + "1, 0",
    ],
)
def test_refuses(text: str) -> None:
    assert parse_policy(text, PAIR) is None


def test_longer_names_are_read_first() -> None:
    names = ("amber", "amber2", "red oak", "red")
    assert parse_policy("Policy: amber2 0.1, amber 0.2, Red Oak 0.3, red 0.4", names) == (0.2, 0.1, 0.3, 0.4)
    assert parse_policy("Policy: amber3 1", names) is None


PIECES = (
    "Policy:", "policy", "**Policy:** ", "Policy=", "\n", " ", "\t", ", ", ";", ":", "=", "->", " - ", "-", "−", "+",
    "amber", "azure", "red", "AMBER", "blue", "and", "the", "0", "1", "0.5", ".5", "5.", "0.25", "1/3", "2/3", "/",
    "⁄", "50%", "25 %", "%", "1e-3", "1e308", "1e999", "1e-999", "e", "E+", "nan", "inf", "-0.1", "0x1", "9" * 30,
    "9" * 400, "½", "²", "０．５", "，", "、", "[", "]", "(", ")", "{", "}", "<", ">", "*", "_", "`", '"', "'", "&",
    "|", ".", "...", "\x00", "\udcff", "\u202e", "\u2028", "İ", "ß",
    "Policy: amber 0.5 azure 0.5", "amber 50%, ", "azure 1/2 ", "red 0.01 ", "amber 1 ",
)  # fmt: skip


def check(text: str, names: tuple[str, ...]) -> tuple[float, ...] | None:
    policy = parse_policy(text, names)
    if policy is not None:
        assert len(policy) == len(names)
        assert all(type(share) is float and share >= 0 for share in policy)
        assert abs(math.fsum(policy) - 1) <= 1e-12 and abs(sum(policy) - 1) <= 1e-12
    return policy


@settings(max_examples=FUZZ // 4, deadline=None)
@given(st.text(), st.sampled_from([PAIR, THREE]))
def test_fuzz_text(text: str, names: tuple[str, ...]) -> None:
    check(text, names)
    check(f"Policy: {text}", names)


@settings(max_examples=FUZZ // 4, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=15).map("".join), st.sampled_from([PAIR, THREE]))
@example("amber 0.5 azure 0.5", PAIR)
def test_fuzz_pieces(text: str, names: tuple[str, ...]) -> None:
    check(text, names)
    check(f"Policy: {text}", names)


STYLES = ("{n} {x}", "{n}: {x}", "{n}={x}", "**{n}** - {x}", "{x}")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20).filter(any), st.sampled_from(STYLES), st.booleans())
def test_reads_back_what_was_written(weights: list[int], style: str, percent: bool) -> None:
    names = tuple(f"n{i}" if i % 2 else f"n{i} oak" for i in range(len(weights)))
    shares = [weight / sum(weights) for weight in weights]
    told = [f"{share:.6%}" if percent else f"{share:.6f}" for share in shares]
    text = ", ".join(style.format(n=name, x=x) for name, x in zip(names, told, strict=True))
    assert check(f"Policy: [{text}]", names) == pytest.approx(shares, abs=1e-5)


@pytest.mark.parametrize(
    "unit", ["Policy: ", "policy", "Policy" + " " * 9, "[", "9", "0.1, ", "and ", "amber ", "1/", ". "]
)
@pytest.mark.parametrize("before", ["", "Policy: "])
def test_a_million_characters_return(unit: str, before: str) -> None:
    assert parse_policy(before + unit * (1_000_000 // len(unit)), PAIR) is None
