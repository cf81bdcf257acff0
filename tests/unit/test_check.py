"""The generated plug-ins keep every rule; broken in the way of each rule, they fail with its sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rmft_verl.env import EnvLoadError, load_env
from rmft_verl.env.check import RULES, check_env, replies
from rmft_verl.env.scaffold import write_plug_in

Change = tuple[str, str]

TURN = "        self.turn += 1\n"
SEEN = 'Observation((Message("user", text),), self.spec, self.turn, action, feedback_A)'
LAST = "return StepResult(None, catch, done=True)"
NEXT = "return StepResult(seen, catch, done=False)"
TAPE = "np.random.default_rng(seed).random"
STATE = "self.scenario, self.turn = scenario, 0"
PARSE = "        # The last `Action:` counts."
CHANCES = 'self.chances_A = np.array(scenario.game["chances"])'
MEANS = "np.tile(self.chances_A, (self.scenario.horizon, 1))"
PULL = "catch = float(self.catches_T_A[self.turn, action])"

SPEC = 'reward_law="bernoulli", reward_scale=0.5)'
FEATURE = 'reward_law="bernoulli", reward_scale=0.5, n_features=1)'
FIRST = "self.spec, turn=0)"
SHOWN = [
    (SPEC, FEATURE),
    (FIRST, f"{FIRST[:-1]}, context_F=self.cases_T_F[0])"),
    (SEEN, f"{SEEN[:-1]}, context_F=self.cases_T_F[self.turn])"),
    ('kind="pseudo"', 'kind="contextual"'),
]
"""Contexts in ``cases_T_F``, shape (99, 1), which are still to be drawn."""

BREAKS: dict[str, list[list[Change]]] = {
    "options": [
        [('"few": {"spots": 2}', '"few": {"places": 2}')],
        [("spots: int = 4", "spots: int")],
    ],
    "scenario": [
        [("SPOTS[i] for i", "SPOTS[0] for i")],
        [("names = tuple(SPOTS[i]", 'names = ("bay", "BAY", "pier", "pond") or tuple(SPOTS[i]')],
        [("horizon: int = 10", "horizon: int = 0")],
        [('game={"chances": chances})', 'game={"chances": chances}).to_json()')],
    ],
    "draw": [
        [("rng.uniform(", "np.random.default_rng().uniform(")],
        [("def draw(self,", "drawn: ClassVar[list[int]] = []\n\n    def draw(self,"),
         ('names, context="fishing"', 'names, context=f"{len(self.drawn)}"'),
         ("        # Everything random comes from rng", "        self.drawn.append(1)\n        # Everything")],
    ],
    "json": [
        [('{"chances": chances}', '{"chances": tuple(chances)}')],
        [('{"chances": chances}', '{"chances": chances, "by": {1: 2}}')],
        [('{"chances": chances}', '{"chances": chances, "top": float("inf")}')],
        [('{"chances": chances}', '{"chances": chances, "rng": rng}')],
    ],
    "globals": [
        [(TURN, f"{TURN}        np.random.rand()\n")],
        [(TURN, f"{TURN}        random.random()\n"), ("import re\n", "import random\nimport re\n")],
        [(STATE, f"{STATE}\n        np.random.seed(seed)")],
        [("        # Everything random comes from rng", "        shuffle([1, 2])\n        # Everything"),
         ("import re\n", "import re\nfrom random import shuffle\n")],
    ],
    "raises": [
        [(LAST, "return StepResult(None, catch / 0, done=True)")],
        [("rng.uniform(0.1, 0.9, self.spots)", "[1 / 0]")],
        [(STATE, f"{STATE}\n        int('x')")],
        [("return Oracle(", "return scenario.oracle(")],
    ],
    "say": [
        [('return f"Action: ', 'return f"I take ')],
        [("self.scenario.actions[action]}\"", "self.scenario.actions[action - 1]}\"")],
    ],
    "types": [
        [(NEXT, "return (seen, catch, False)")],
        [(NEXT, 'return StepResult("next", catch, done=False)')],
        [('return Observation((Message("user", text),), self.spec, turn=0)', "return text")],
        [(f'return Oracle({MEANS}, kind="pseudo")', "return self.chances_A")],
    ],
    "words": [
        [(SEEN, SEEN.replace("text", '" "'))],
        [(SEEN, SEEN.replace("text", '"\\ud800"'))],
        [(SEEN, SEEN.replace('"user"', '"assistant"'))],
        [(SEEN, SEEN.replace('(Message("user", text),)', "()"))],
        [(SEEN, SEEN.replace('(Message("user", text),)', "text"))],
    ],
    "names": [[("join(self.scenario.actions)", "join(self.scenario.actions[1:])")]],
    "leak": [[('"Catch as', 'f"One has {self.chances_A[0]}. Catch as')]],
    "spec": [
        [(SEEN, SEEN.replace("self.spec", 'GameSpec(4, 10, "bernoulli", 0.1)'))],
        [("GameSpec(len(self.chances_A), scenario.horizon", "GameSpec(len(self.chances_A), scenario.horizon + 1")],
    ],
    "turn": [[(SEEN, SEEN.replace("self.turn", "self.turn + 1"))]],
    "last_action": [
        [(SEEN, SEEN.replace(" action,", " 0,"))],
        [(SEEN, SEEN.replace(" action,", " self.scenario.actions[action],"))],
        [("self.spec, turn=0)", "self.spec, turn=0, last_action=0)")],
    ],
    "feedback": [
        [("feedback_A[action] = catch", "feedback_A[:] = catch")],
        [("feedback_A[action] = catch", "feedback_A[action] = 1 - catch")],
        [("feedback_A[action] = catch", "feedback_A[action] = np.nan")],
        [(SEEN, SEEN.replace("feedback_A", "feedback_A[:2]"))],
        [(SEEN, SEEN.replace("feedback_A", "None"))],
        [("self.spec, turn=0)", "self.spec, turn=0, feedback_A=self.chances_A)")],
    ],
    "context": [
        [(SPEC, FEATURE)],
        [(FIRST, f"{FIRST[:-1]}, context_F=np.zeros(1))")],
        [(SPEC, FEATURE), (FIRST, f"{FIRST[:-1]}, context_F=np.zeros(2))")],
        [(SPEC, FEATURE), (FIRST, f"{FIRST[:-1]}, context_F=np.array([np.nan]))")],
        [(SPEC, FEATURE), (FIRST, f"{FIRST[:-1]}, context_F=np.zeros(1))")],
    ],
    "context_same": [
        [*SHOWN, (STATE, f"{STATE}\n        self.cases_T_F = np.random.default_rng(seed).random((99, 1))")],
    ],
    "context_means": [
        [*SHOWN, (STATE, f"{STATE}\n        self.cases_T_F = np.zeros((99, 1))")],
    ],
    "done": [
        [(LAST, "return StepResult(None, catch, done=False)")],
        [(NEXT, "return StepResult(seen, catch, done=self.turn == self.scenario.horizon - 1)")],
    ],
    "horizon": [
        [("if self.turn == self.scenario.horizon:", "if self.turn == self.scenario.horizon - 1:")],
        [("if self.turn == self.scenario.horizon:", "if self.turn > self.scenario.horizon:"),
         ("random((scenario.horizon,", "random((scenario.horizon + 9,")],
    ],
    "reward": [
        [(NEXT, 'return StepResult(seen, float("nan"), done=False)')],
        [(LAST, "return StepResult(None, None, done=True)")],
    ],
    "law": [[(PULL, PULL.replace("float(", "2 * float("))]],
    "frozen": [[(CHANCES, f'scenario.game["chances"].sort()\n        {CHANCES}')]],
    "same": [[(TAPE, "np.random.default_rng().random")]],
    "reward_seed": [
        [(CHANCES, 'self.chances_A = np.random.default_rng(seed).random(len(scenario.game["chances"]))')],
        [("f\"You fish", 'f"Sea {self.catches_T_A.sum()}. You fish')],
    ],
    "tape": [
        [(STATE, f"{STATE}\n        self.pulls = [0] * len(scenario.actions)"),
         (PULL, f"{PULL.replace('self.turn', 'self.pulls[action]')}\n        self.pulls[action] += 1")],
    ],
    "shared": [
        [(STATE, f"{STATE}\n        type(self).log = []"), (TURN, f"{TURN}        self.log.append(catch)\n"),
         ('text = f"At', 'text = f"{self.log} At')],
    ],
    "oracle": [
        [("(self.scenario.horizon, 1)), kind", "(self.turn, 1)), kind")],
        [(MEANS, "self.chances_A")],
        [("np.tile(self.chances_A,", "np.tile(self.chances_A * np.nan,")],
        [(MEANS, f"{MEANS}.tolist()")],
    ],
    "kind": [[('kind="pseudo"', 'kind="bandit"')], [('kind="pseudo"', 'kind="contextual"')]],
    "truth": [[("np.tile(self.chances_A,", "np.tile(self.chances_A[::-1],")]],
    "stakes": [[("rng.uniform(0.1, 0.9, self.spots)", "[0.5] * self.spots")]],
    "parse_raises": [
        [("if named and named[-1] in self.scenario.actions else None", "if named else None")],
        [("text.lower()", "text.encode().decode().lower()")],
        [(PARSE, f"        json.loads(text)\n{PARSE}"), ("import re\n", "import json\nimport re\n")],
    ],
    "parse_legal": [
        [("in self.scenario.actions else None", "in self.scenario.actions else -1")],
        [("in self.scenario.actions else None", "in self.scenario.actions else len(self.scenario.actions)")],
        [("in self.scenario.actions else None", "in self.scenario.actions else False")],
        [("return self.scenario.actions.index(named[-1])", "return named[-1]")],
    ],
    "parse_finds": [
        [('r"action:', 'r"choice:')],
        [("actions.index(named[-1])", "actions.index(named[-1]) * 0")],
    ],
    "parse_pure": [[(PARSE, f"        self.catches_T_A = 1 - self.catches_T_A\n{PARSE}")]],
    "parse_linear": [[(PARSE, f'        re.findall(r"a*b", text[:20_000])\n{PARSE}')]],
}  # fmt: skip
"""Rule -> changes to the generated bandit, each a list of (old, new), that break it."""

FULL_BREAKS: dict[str, list[list[Change]]] = {
    "feedback": [
        [("yields_A.copy())", "np.where(yields_A > 0.5, np.nan, yields_A))")],
        [("earned = float(np.dot(action, yields_A))", "earned = float(yields_A.max())")],
    ],
    "law": [[(".clip(0, 1)", "+ 1")]],
    "last_action": [[("self.turn, action, yields_A", "self.turn, list(action), yields_A")]],
    "truth": [[("Oracle(self.yields_T_A.copy()", "Oracle(self.yields_T_A[::-1].copy()")]],
    "kind": [[('kind="external"', 'kind="hindsight"')]],
    "oracle": [[("self.yields_T_A.copy(),", "self.yields_T_A[: self.turn].copy(),")]],
    "parse_legal": [
        [("tuple(share / total for share in policy)", "tuple(policy)")],
        [("tuple(share / total for share in policy)", "policy")],
        [("if not shares or", "if 'nan' in text:\n            return (float('nan'),) * 3\n        if not shares or")],
    ],
    "parse_raises": [[("if abs(total - 1) <= 0.02 else None", "")]],
    "parse_finds": [[("policy:(", "split:(")]],
}  # fmt: skip
"""The same for the generated full-information game, where the rule is another one there."""

CASES = [
    pytest.param(full, key, changes, id=f"{'full-' if full else ''}{key}-{number}")
    for full, breaks in ((False, BREAKS), (True, FULL_BREAKS))
    for key, cases in breaks.items()
    for number, changes in enumerate(cases)
]


def test_every_rule_has_a_plug_in_that_breaks_it() -> None:
    assert set(BREAKS) == set(RULES)


@pytest.mark.parametrize("full", [False, True])
def test_the_generated_plug_ins_conform(tmp_path: Path, full: bool) -> None:
    env_class = load_env(str(write_plug_in("demo_env", tmp_path, full)))
    assert check_env(env_class) == 20 * 4 * 10
    assert check_env(env_class, {"horizon": 1}, episodes=5) == 5 * 4
    assert check_env(env_class, env_class.SUITES["many"], episodes=2) == 2 * 4 * 40


@pytest.mark.parametrize(("full", "key", "changes"), CASES)
def test_a_broken_rule_is_named_with_its_remedy(
    full: bool, key: str, changes: list[Change], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key == "parse_linear":
        monkeypatch.setattr(replies, "MOST_SECONDS", 0.02)
    path = write_plug_in("demo_env", tmp_path, full)
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EnvLoadError) as error:
        check_env(load_env(str(path)))
    said = str(error.value)
    assert said.startswith(f"not a conformant environment: {RULES[key].must}")
    assert said.endswith(f"; {RULES[key].mend}.")
    assert "\n" not in said


@pytest.mark.parametrize("key", sorted(RULES))
def test_a_rule_is_one_sentence(key: str) -> None:
    sentence = f"{RULES[key].must}; {RULES[key].mend}"
    assert not re.search(r"[.!?]\s+[A-Z]|\n", sentence)


def test_what_the_plug_in_raised_is_told_with_its_line(tmp_path: Path) -> None:
    path = write_plug_in("demo_env", tmp_path)
    text = path.read_text(encoding="utf-8").replace(LAST, "return StepResult(None, catch / 0, done=True)")
    path.write_text(text, encoding="utf-8")
    line = text[: text.index("catch / 0")].count("\n") + 1
    with pytest.raises(EnvLoadError, match=re.escape(f"{path}:{line}: ZeroDivisionError: ")) as error:
        check_env(load_env(str(path)))
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_the_check_leaves_global_generators_alone(tmp_path: Path) -> None:
    import random

    import numpy as np

    before = random.getstate(), np.random.get_state(legacy=True)[1].tolist()
    check_env(load_env(str(write_plug_in("demo_env", tmp_path))), episodes=2)
    assert before == (random.getstate(), np.random.get_state(legacy=True)[1].tolist())


def test_a_story_may_ask_for_a_format_of_its_own(tmp_path: Path) -> None:
    path = write_plug_in("demo_env", tmp_path)
    text = path.read_text(encoding="utf-8").replace("\\nAction: NAME", "\\nI fish at the NAME today!")
    text = text.replace('r"action:[ *]{0,5}(\\w+)"', 'r"fish at the (\\w+) today"')
    text = text.replace(
        'f"Action: {self.scenario.actions[action]}"', 'f"I fish at the {self.scenario.actions[action]} today"'
    )
    path.write_text(text, encoding="utf-8")
    assert check_env(load_env(str(path)), episodes=2) == 80
