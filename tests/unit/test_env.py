from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from toy_bandit import ToyBandit, ToyGenerator

import rmft_verl.env as env_module
from rmft_verl.env import EnvLoadError, find_envs, load_env, suites
from rmft_verl.types import RunError

DROP_IN = (
    "from toy_bandit import ToyGenerator\nclass {name}:\n    name = 'x'\n    Generator = ToyGenerator\n"
    + "".join(f"    def {method}(self, *a): ...\n" for method in ("reset", "parse", "step", "oracle"))
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
def test_a_plug_in_that_raises_on_import_is_told_in_one_line(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, "x = 1\nraise ZeroDivisionError('bad\\nodds')\n")
    with pytest.raises(EnvLoadError) as error:
        load_env("casino", [str(tmp_path)])
    assert str(error.value) == (
        f"environment 'casino' cannot be loaded: {tmp_path / place}:2: ZeroDivisionError: bad odds. Mend that, or "
        "leave the plug-in out (RMFT_VERBOSE=1 shows the whole traceback)."
    )
    assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("text", "blamed"),
    [
        ("import json\n\njson.loads('{')\n", "casino.py:3: JSONDecodeError: "),
        ("def f():\n    import no_such_module\n\nf()\n", "casino.py:2: ModuleNotFoundError: "),
        ("x = 1\ndef f(:\n", "casino.py:2: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit('no licence')\n", "casino.py:2: SystemExit: no licence"),
        ("import re\nre.compile('(')\n", "casino.py:2: "),
        ("x = '\0'\n", "casino.py"),
    ],
)
def test_the_line_to_mend_is_the_plug_ins_own(tmp_path: Path, text: str, blamed: str) -> None:
    write(tmp_path / "casino.py", text)
    with pytest.raises(EnvLoadError) as error:
        load_env("casino", [str(tmp_path)])
    assert f"cannot be loaded: {tmp_path}/{blamed}" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_line_to_mend_may_be_in_a_module_of_the_plug_in(tmp_path: Path) -> None:
    write(tmp_path / "harbor" / "__init__.py", "from .game import Harbor\n")
    write(tmp_path / "harbor" / "game.py", "import json\nHarbor = json.loads('')\n")
    with pytest.raises(EnvLoadError, match=r"harbor/game\.py:2: JSONDecodeError"):
        load_env("harbor", [str(tmp_path)])


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
    with pytest.raises(EnvLoadError, match=f"{path}.* cannot be loaded: {cause}: .*Mend that"):
        load_env(path)


@pytest.mark.parametrize(("text", "count"), [("x = 1", 0), (DROP_IN.format(name="A") + DROP_IN.format(name="B"), 2)])
def test_a_drop_in_has_exactly_one_environment(tmp_path: Path, text: str, count: int) -> None:
    write(tmp_path / "casino.py", text)
    with pytest.raises(EnvLoadError, match=f"exactly one class with a Generator, found {count}"):
        load_env("casino", [str(tmp_path)])


def test_a_class_without_the_methods_is_refused_by_name() -> None:
    with pytest.raises(
        EnvLoadError, match="'toy_bandit:ToyGenerator' lacks name, Generator, reset, parse, step, oracle"
    ):
        load_env("toy_bandit:ToyGenerator")


def test_load_errors_are_shown_as_one_line() -> None:
    assert issubclass(EnvLoadError, RunError)


@pytest.mark.parametrize("place", ["casino.py", "harbor/__init__.py"])
def test_a_drop_in_is_found_by_its_path(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / place, DROP_IN.format(name="Casino"))
    path = place.removesuffix("/__init__.py")
    assert load_env(str(tmp_path / path)).__name__ == "Casino"
    monkeypatch.chdir(tmp_path)
    assert load_env(f"./{path}").__name__ == "Casino"


@pytest.mark.parametrize("path", ["nowhere.py", "./nowhere", "my/toy_bandit"])
def test_a_path_without_a_drop_in_is_refused(path: str) -> None:
    with pytest.raises(EnvLoadError, match=rf"no environment at '{path}': name a \.py file or a folder"):
        load_env(path)


def test_suites_are_optional() -> None:
    assert suites(ToyBandit) == {}
    assert suites(type("Sweep", (ToyBandit,), {"SUITES": {"long": {"horizon": 9}}})) == {"long": {"horizon": 9}}
