"""The page's own computations, run by Node: every filter, the order, partners, what is made visible."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from rmft_verl.eval.view import page

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")

SHARED = [
    {"id": "aa", "env": "mab", "context": "fishing", "actions": ["jay", "wren"]},
    {"id": "bb", "env": "fol", "context": "routes", "actions": ["oak", "elm"]},
]

DIALOGUES = [
    {"run": 0, "set": "eval 0", "kept": None, "valid": True, "regret": 2.0, "score": None, "scenario": 0, "seed": 1},
    {"run": 0, "set": "train 1", "kept": True, "valid": True, "regret": 0.5, "score": 0.4, "scenario": 1, "seed": 2},
    {"run": 0, "set": "train 1", "kept": False, "valid": True, "regret": 1.5, "score": 1.6, "scenario": 1, "seed": 3},
    {
        "run": 1,
        "set": "train 1",
        "kept": False,
        "valid": False,
        "regret": None,
        "score": None,
        "scenario": 1,
        "seed": 2,
    },
    {"run": 1, "set": "eval 0", "kept": None, "valid": True, "regret": -1.0, "score": None, "scenario": 0, "seed": 1},
]


def js(expression: str, **values: Any) -> Any:
    """The value of an expression over the functions of rows.js and ``values``, through JSON."""
    names = "".join(f"const {name}={json.dumps(value)};" for name, value in values.items())
    script = (
        f"const $=require({json.dumps(str(page.HERE / 'rows.js'))});{names}console.log(JSON.stringify({expression}))"
    )
    done = subprocess.run([str(NODE), "-e", script], capture_output=True, text=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"run": "1"}, [3, 4]),
        ({"set": "train 1"}, [1, 2, 3]),
        ({"kept": "yes"}, [1]),
        ({"kept": "no"}, [2, 3]),
        ({"valid": "yes"}, [0, 1, 2, 4]),
        ({"valid": "no"}, [3]),
        ({"scenario": " FISH"}, [0, 4]),
        ({"scenario": "elm"}, [1, 2, 3]),
        ({"scenario": "bb"}, [1, 2, 3]),
        ({"scenario": "fol"}, [1, 2, 3]),
        ({"regretFrom": "0.5"}, [0, 1, 2]),
        ({"regretTo": "0.5"}, [1, 4]),
        ({"regretFrom": "-1", "regretTo": "1.5"}, [1, 2, 4]),
        ({"scoreFrom": "1"}, [2]),
        ({"scoreTo": "1"}, [1]),
        ({"regretFrom": "0"}, [0, 1, 2]),
        ({"run": "0", "kept": "no", "valid": "yes"}, [2]),
        ({"sort": "regret up"}, [4, 1, 2, 0, 3]),
        ({"sort": "regret down"}, [0, 2, 1, 4, 3]),
        ({"sort": "score up", "set": "train 1"}, [1, 2, 3]),
        ({"sort": "score down", "set": "train 1"}, [2, 1, 3]),
    ],
)
def test_filters_and_order(filters: dict[str, str], found: list[int]) -> None:
    assert js("$.chosen(all, {...$.ANY, ...given}, shared)", all=DIALOGUES, given=filters, shared=SHARED) == found


def test_partners_are_of_the_same_scenario_those_on_the_same_draws_first() -> None:
    assert js("all.map((_, i) => $.partners(all, i))", all=DIALOGUES) == [[4], [3, 2], [1, 3], [1, 2], [0]]


def test_what_would_be_obeyed_or_unseen_is_a_visible_sign() -> None:
    plain = "é שלום 👩\u200d🚀"
    text = f"a\tb\nc\r\x00\x1b[31m\x7f\x9b\u202e\u2066\u200e\u2028\ufeff\ud800{plain}"
    shown = "a\tb\nc[U+000D][U+0000][U+001B][31m[U+007F][U+009B][U+202E][U+2066][U+200E][U+2028][U+FEFF][U+D800]"
    assert js("$.visible(text)", text=text) == shown + plain


def test_a_reply_is_cut_into_its_tokens() -> None:
    assert js("$.parts('I🎉Action', [[1,false,-1],[2,false,-0.5],[6,true,0]])") == [
        ["I", False, -1],
        ["🎉", False, -0.5],
        ["Action", True, 0],
    ]
    assert js("$.parts('whole', [])") == [["whole", False, None]]
    assert js("$.parts('cut', [[2,false,-1],[9,false,-2],[4,false,-3]])") == [["cu", False, -1], ["t", False, -2]]


def test_the_least_likely_token_is_told_in_words() -> None:
    found = [["I", False, -1], ["\x1b", False, -2.5], ["forced", True, -9], [" say", False, None]]
    assert js("$.leastLikely(found)", found=found) == 'least likely token: "\\u001b", log-probability -2.5'
    assert js("$.leastLikely([['I', false, null], ['x', true, 0]])") == ""


def test_actions_are_arms_or_shares() -> None:
    assert js("[$.actionName(1, a), $.actionName([0.25, 0.75], a), $.actionName(null, a)]", a=["x", "y"]) == [
        "y",
        "x 0.25, y 0.75",
        "none",
    ]
    assert js("[$.worth([1, 3], 1), $.worth([1, 3], [0.5, 0.5]), $.worth([1, 3], null)]") == [3, 2, None]
    turns = [[[], 0, 0], [[], 0, None], [[], 0, 1], [[], 0, 1]]
    assert js("$.pulls(turns, ['x', 'y'])", turns=turns) == [1, 2]
    assert js("[$.expected([[1]], 7), $.expected([[1], [2]], 1), $.expected([], 0)]") == [[1], [2], []]


def test_ticks_cover_the_values_with_round_numbers() -> None:
    assert js("[$.ticks(0, 1.05), $.ticks(0, 0.1), $.ticks(-0.3, 2), $.ticks(5, 5), $.ticks(0, 25)]") == [
        [0, 0.5, 1, 1.5],
        [0, 0.05, 0.1],
        [-1, 0, 1, 2],
        [5],
        [0, 10, 20, 30],
    ]


def test_the_address_holds_the_state() -> None:
    state = {"set": "train 1", "scenario": "a&b=#é", "kept": "", "open": "3"}
    again = js("$.fromHash('#' + $.toHash(state), state)", state=state)
    assert again == state
    assert js("$.fromHash('', state)", state=state) == dict.fromkeys(state, "")
