from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bandit import ToyBandit, ToyGenerator

import rmft_verl.env as env_module
from rmft_verl.env import EnvLoadError, check_env, find_envs, load_env
from rmft_verl.types import Action, Oracle, RunError, Scenario, StepResult

DROP_IN = "from toy_bandit import ToyGenerator\nclass {name}:\n    Generator = ToyGenerator\n" + "".join(
    f"    def {method}(self, *a): ...\n" for method in ("reset", "parse", "step", "oracle")
)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The installed plug-ins of this test, instead of the machine's."""
    points = [EntryPoint("toy", "toy_bandit:ToyBandit", env_module.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(env_module, "entry_points", lambda group: [p for p in points if p.group == group])
    return points


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_an_installed_plug_in_is_found_by_name() -> None:
    assert find_envs() == {"toy": "toy_bandit:ToyBandit"}
    assert load_env("toy") is ToyBandit


def test_a_class_is_found_by_its_path() -> None:
    assert load_env("toy_bandit:ToyBandit") is ToyBandit


def test_a_drop_in_file(tmp_path: Path) -> None:
    write(tmp_path / "casino.py", DROP_IN.format(name="Casino"))
    assert find_envs([str(tmp_path)])["casino"] == str(tmp_path / "casino.py")
    loaded = load_env("casino", [str(tmp_path)])
    assert loaded.__name__ == "Casino" and loaded.Generator is ToyGenerator


def test_a_drop_in_folder_imports_its_own_modules(tmp_path: Path) -> None:
    write(tmp_path / "harbor" / "__init__.py", "from .game import Harbor\n")
    write(tmp_path / "harbor" / "game.py", DROP_IN.format(name="Harbor"))
    assert load_env("harbor", [str(tmp_path)]).__name__ == "Harbor"


def test_what_is_no_drop_in_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "_private.py", "raise RuntimeError('not to be imported')")
    write(tmp_path / "notes.txt", "")
    write(tmp_path / "data" / "table.csv", "")
    assert find_envs([str(tmp_path)]) == {"toy": "toy_bandit:ToyBandit"}


def test_listing_imports_nothing(tmp_path: Path) -> None:
    write(tmp_path / "broken.py", "raise RuntimeError('must not run')")
    assert "broken" in find_envs([str(tmp_path)])


def test_two_drop_ins_of_one_name_are_both_named(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder / "casino.py", DROP_IN.format(name="Casino"))
    with pytest.raises(EnvLoadError) as error:
        find_envs([str(tmp_path / "one"), str(tmp_path / "two")])
    message = str(error.value)
    assert "'casino'" in message and "Rename one" in message
    assert str(tmp_path / "one" / "casino.py") in message and str(tmp_path / "two" / "casino.py") in message


def test_a_drop_in_must_not_shadow_an_installed_plug_in(tmp_path: Path) -> None:
    write(tmp_path / "toy.py", DROP_IN.format(name="Other"))
    with pytest.raises(EnvLoadError) as error:
        load_env("toy", [str(tmp_path)])
    assert "toy_bandit:ToyBandit" in str(error.value) and str(tmp_path / "toy.py") in str(error.value)


def test_naming_one_directory_twice_is_no_conflict(tmp_path: Path) -> None:
    write(tmp_path / "casino.py", DROP_IN.format(name="Casino"))
    assert "casino" in find_envs([str(tmp_path), str(tmp_path)])


def test_a_missing_environment_lists_the_known_ones() -> None:
    with pytest.raises(EnvLoadError, match=r"env.name='casino': no such environment. Known: toy\."):
        load_env("casino")


def test_no_environment_at_all_is_said_too(installed: list[EntryPoint]) -> None:
    installed.clear()
    with pytest.raises(EnvLoadError, match="Known: none"):
        load_env("casino")


def test_a_missing_directory_is_named() -> None:
    with pytest.raises(EnvLoadError, match="env_dirs: '/no/such/folder' is not a directory"):
        find_envs(["/no/such/folder"])


@pytest.mark.parametrize("place", ["casino.py", "casino/__init__.py"])
def test_a_plug_in_that_raises_on_import_shows_its_traceback(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, "x = 1\nraise ZeroDivisionError('bad odds')\n")
    with pytest.raises(EnvLoadError) as error:
        load_env("casino", [str(tmp_path)])
    message = str(error.value)
    assert "'casino'" in message and "Traceback" in message and "ZeroDivisionError: bad odds" in message
    assert str(tmp_path / place) in message and "line 2" in message


def test_a_plug_in_can_be_mended_and_loaded_again(tmp_path: Path) -> None:
    write(tmp_path / "casino.py", "1 / 0")
    with pytest.raises(EnvLoadError):
        load_env("casino", [str(tmp_path)])
    assert "rmft_verl_dropin_casino" not in sys.modules
    write(tmp_path / "casino.py", DROP_IN.format(name="Casino"))
    assert load_env("casino", [str(tmp_path)]).__name__ == "Casino"


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("no_such_module:Env", "ModuleNotFoundError"),
        ("toy_bandit:Nothing", "AttributeError"),
    ],
)
def test_a_path_that_leads_nowhere_shows_why(path: str, cause: str) -> None:
    with pytest.raises(EnvLoadError, match=f"(?s){path}.*Traceback.*{cause}"):
        load_env(path)


@pytest.mark.parametrize(("text", "count"), [("x = 1", 0), (DROP_IN.format(name="A") + DROP_IN.format(name="B"), 2)])
def test_a_drop_in_has_exactly_one_environment(tmp_path: Path, text: str, count: int) -> None:
    write(tmp_path / "casino.py", text)
    with pytest.raises(EnvLoadError, match=f"exactly one class with a Generator, found {count}"):
        load_env("casino", [str(tmp_path)])


def test_a_class_without_the_methods_is_refused_by_name() -> None:
    with pytest.raises(EnvLoadError, match="'toy_bandit:ToyGenerator' lacks Generator, reset, parse, step, oracle"):
        load_env("toy_bandit:ToyGenerator")


def test_load_errors_are_shown_as_one_line() -> None:
    assert issubclass(EnvLoadError, RunError)


def test_the_toy_conforms() -> None:
    check_env(ToyBandit)
    check_env(ToyBandit, {"horizon": 1})


class Forgetful(ToyGenerator):
    draws = 0

    def draw(self, rng: np.random.Generator) -> Scenario:
        Forgetful.draws += 1
        return super().draw(np.random.default_rng(Forgetful.draws))


class Unseeded(ToyBandit):
    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, int(np.random.default_rng().integers(2**31)))


class Fragile(ToyBandit):
    def parse(self, text: str) -> Action | None:
        return int(text)


class Short(ToyBandit):
    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, seed)
        self._scenario = Scenario("toy", scenario.horizon - 1, scenario.actions, "plain", scenario.game)


class Infinite(ToyBandit):
    def step(self, action: Action) -> StepResult:
        result = super().step(action)
        return StepResult(result.observation, float("inf"), result.done)


class Endless(ToyBandit):
    def step(self, action: Action) -> StepResult:
        return StepResult(super().step(action).observation, 0.0, False)


class Transposed(ToyBandit):
    def oracle(self) -> Oracle:
        return Oracle(super().oracle().expected_T_A.T, "pseudo")


@pytest.mark.parametrize(
    ("env_class", "rule"),
    [
        (type("Env", (ToyBandit,), {"Generator": Forgetful}), r"draw\(rng\) must depend on rng alone"),
        (Unseeded, "equal seeds must give equal observations"),
        (Short, "the episode lasted 2 rounds, the horizon is 3"),
        (Infinite, "rewards must be finite"),
        (Endless, "done must mean that no observation follows"),
        (Transposed, r"oracle.expected_T_A has shape \(2, 3\), not \(horizon, actions\)"),
    ],
)
def test_a_broken_rule_is_named(env_class: Any, rule: str) -> None:
    with pytest.raises(EnvLoadError, match=f"not a conformant environment: {rule}"):
        check_env(env_class)


def test_a_parser_that_raises_does_not_pass() -> None:
    with pytest.raises((ValueError, EnvLoadError), match=r"invalid literal|parse"):
        check_env(Fragile)
