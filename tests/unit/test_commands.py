"""Every command of the README, the docs and the recipes' headers: those without a model run, the others are checked."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmft_verl.env import load_env
from rmft_verl.eval.compare.arms import make_arms
from rmft_verl.main.cli import _parser, main
from rmft_verl.setup.env_checks import check_fit
from rmft_verl.setup.recipe import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN = ("recipe=doors", "resume=RUN", "fork=RUN")
"""What a page makes itself, or a reader puts in."""


def blocks(text: str) -> Iterator[str]:
    """The commands of a page's indented blocks, continuation lines joined, remarks left out."""
    lines = iter(text.split("\n"))
    for line in lines:
        if re.match(r"    (python|rmft-verl|make) ", line):
            command = line.strip()
            while command.endswith("\\"):
                command = command[:-1] + next(lines).strip()
            yield command.partition(" #")[0].strip()


def headers(text: str) -> Iterator[str]:
    """The commands of a recipe's header, several in a line or followed by words."""
    lines = iter(text.split("\n"))
    for line in lines:
        if re.match(r"#   (python|rmft-verl) ", line):
            command = line[1:].strip()
            while command.endswith("\\"):
                command = command[:-1] + next(lines)[1:].strip()
            yield from (part for part in re.split(r"\s{3,}", command) if re.match("python|rmft-verl", part))


COMMANDS = {
    f"{path.name}: {command}": command
    for path in (*PAGES, *sorted((ROOT / "recipes").glob("*.yaml")))
    for command in (headers if path.suffix == ".yaml" else blocks)(path.read_text(encoding="utf-8"))
    if not re.search(r"[A-Z]{3}|\.\.\.|\[RECIPE|my_template", command.replace("OMP", ""))
}


def of(*words: str) -> list[str]:
    """The commands that begin with these words."""
    return [name for name, command in COMMANDS.items() if shlex.split(command)[: len(words)] == list(words)]


def test_there_are_commands_of_every_kind() -> None:
    counts = [
        len(of(*words)) for words in (("python", "-m"), ("rmft-verl", "compare"), ("rmft-verl", "eval"), ("make",))
    ]
    assert min(counts) > 2 and sum(counts) > 60


@pytest.mark.parametrize("name", of("python", "-m", "rmft_verl.main"))
def test_a_training_command_has_a_configuration_that_can_run(name: str) -> None:
    words = shlex.split(COMMANDS[name])[3:]
    if words[0] in OWN:
        pytest.skip("of a recipe that the page makes")
    config = load_config(words)
    if config.env.name != "ball":  # of the theorem, no environment
        check_fit(config, load_env(config.env.name))


@pytest.mark.parametrize("name", of("rmft-verl", "compare"))
def test_a_comparison_has_arms_that_can_run(name: str) -> None:
    options = _parser().parse_args(shlex.split(COMMANDS[name])[1:])
    for arm in make_arms(options.recipes, options.arm, options.runs, options.overrides):
        if arm.recipe:
            load_config([f"recipe={arm.recipe}", *arm.overrides])


@pytest.mark.parametrize("name", of("rmft-verl", "eval"))
def test_an_evaluation_of_algorithms_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(COMMANDS[name])[1:]
    options = _parser().parse_args(words)
    if "doors" in options.target:
        return  # an environment that the page makes
    if "model" in options.players or any(player.startswith("api:") for player in options.players):
        return  # it needs a model; the arguments are right
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--scenarios", "2"]) == 0


@pytest.mark.parametrize("name", [name for name in of("rmft-verl", "envs") if "doors" not in name])
def test_a_command_on_environments_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("quit\n"))
    assert main(shlex.split(COMMANDS[name])[1:]) == 0


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if "tests/" in c])
def test_a_script_is_there(name: str) -> None:
    (script,) = re.findall(r"tests/\S+\.py", COMMANDS[name])
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", of("make"))
def test_a_make_target_is_there(name: str) -> None:
    target = shlex.split(COMMANDS[name])[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
