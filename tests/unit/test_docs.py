from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from rmft_verl.env import load_env
from rmft_verl.env.check import check_env
from rmft_verl.env.play import play_now
from rmft_verl.env.regret import REGRETS, score
from rmft_verl.players import make_player
from rmft_verl.setup.recipe import load_config

ROOT = Path(__file__).resolve().parents[2]
GROUPS = r"(heldout|rollout|kept|update|sync)/\w+"


def block(language: str) -> str:
    """The guide's one code block in a language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/write_an_env.md").read_text(encoding="utf-8"), re.S)
    return str(code)


def test_the_guide_is_a_working_drop_in_with_a_working_recipe(tmp_path, monkeypatch):
    for name, language in (("my_envs/doors.py", "python"), ("recipes/doors.yaml", "yaml")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(block(language), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load_config(["recipe=doors"])
    doors = load_env(config.env.name, config.env_dirs)
    check_env(doors, config.env.options)
    scenario = doors.Generator(**config.env.options).draw(np.random.default_rng(0))
    env = doors(scenario, seed=0)
    assert env.parse(f"Action: mauve?\nAction: {scenario.actions[2].upper()}.") == 2
    assert env.parse(f"I like {scenario.actions[2]}") is None
    played = play_now(doors, make_player("uniform", np.random.default_rng(0)), scenario, reward_seed=1, policy_seed=2)
    regret_now = score(played).regret
    assert played.error == "" and regret_now is not None and regret_now > 0


def logged_keys() -> set[str]:
    """Every ``group/name`` written as a string in the code that logs, and ``time/PHASE`` for every timed phase."""
    keys: set[str] = set()
    for path in (ROOT / "rmft_verl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(GROUPS, str(node.value)):
                keys |= {str(node.value)}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_phase":
                keys |= {f"time/{ast.literal_eval(node.args[0])}"}
    return keys


def test_every_logged_key_is_in_the_table_and_nothing_else():
    table = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`((?:heldout|rollout|kept|update|sync|time)/\w+)`", table))
    assert documented == logged_keys()


@pytest.mark.parametrize("kind", sorted(REGRETS))
def test_every_regret_is_explained(kind):
    assert f"`regret.{REGRETS[kind].__name__}`" in (ROOT / "docs/regret.md").read_text(encoding="utf-8")
