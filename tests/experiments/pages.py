"""Writes the pages that are made from the code and its tests: docs/cli.md and docs/matrix.md.

    python tests/experiments/pages.py

``tests/unit/test_pages.py`` compares the pages with what this would write.
"""

from __future__ import annotations

import argparse
import ast
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from rmft_verl.main.cli import _parser
from rmft_verl.setup.recipe import find_recipes, load_config

ROOT = Path(__file__).resolve().parents[2]
TESTS, RESULTS = ROOT / "tests", ROOT / "docs" / "results"
MADE = "<!-- Made by tests/experiments/pages.py: change that, not this. -->\n\n"

CI, ONCE, PLAN = "CI", "once", "plan"
RANK = (PLAN, ONCE, CI)
"""How much is known of a recipe, from least to most."""

LEGEND = f"""# What has been run

Which method has run in which environment, on which engine and hardware. A script reads it out of the tests and of the
stored results; a test compares.

| word | means |
|---|---|
| {CI} | a test that CI runs trains it: a few small iterations on verl and vLLM, on numbers, or behind our own API |
| {ONCE} | never in a test; a run of it is stored in `docs/results/` |
| {PLAN} | never run: CI makes its plan (`dry_run=true`), which resolves every key and counts context and memory |

In an empty cell nothing is known, or the method does not apply. {CI} says that it trains, not that it learns:
[results.md](results.md) has what was learned. GPUs: [gpu.md](gpu.md).
"""


def templates(tree: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Every string of the form recipe=NAME, as a format string, with the names in its braces."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else _braces(part) for part in node.values]
            text = "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value.replace("{", "{{").replace("}", "}}")
        else:
            continue
        if text.startswith("recipe=") and " " not in text:
            yield text.removeprefix("recipe="), {part.split("}")[0] for part in text.split("{")[1:]}


def _braces(part: ast.AST) -> str:
    return "{" + ast.unparse(part.value) + "}" if isinstance(part, ast.FormattedValue) else ""


def parameters(tests: list[ast.FunctionDef], names: dict[str, Any]) -> dict[str, set[str]]:
    """Name of a parameter -> the strings that ``tests`` get for it. ``names``: what their decorators may use."""
    found: dict[str, set[str]] = {}
    for mark in (mark for test in tests for mark in test.decorator_list):
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
            with suppress(NameError):  # of another kind of test
                values = eval(compile(ast.Expression(mark.args[1]), "list", "eval"), names)
                strings = {value for value in values if isinstance(value, str)}
                found.setdefault(str(ast.literal_eval(mark.args[0])), set()).update(strings)
    return found


def recipes_of(path: Path, tests: str = "") -> set[str]:
    """The shipped recipes, combined by +, that a file of tests names.

    ``tests``: only those tests whose name holds this; what the file says outside of tests counts in any case. The
    file's own assignments are carried out, so a list that changes there changes here.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"yaml": yaml, "find_recipes": find_recipes}
    chosen, rest = [], []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            chosen += [node] if tests in node.name else []
        else:
            rest.append(node)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            with suppress(NameError):  # it uses the file's imports, so it is no list of recipes
                exec(compile(ast.Module([node], []), "assignment", "exec"), names)
    known, filled = parameters(chosen, names), set()
    for text, braces in templates(ast.Module([*rest, *chosen], [])):
        if braces <= known.keys():
            for values in product(*(sorted(known[name]) for name in sorted(braces))):
                filled.add(text.format(**dict(zip(sorted(braces), values, strict=True))))
    shipped = find_recipes()
    return {name for name in filled if all(part in shipped for part in name.split("+"))}


def statuses() -> dict[str, str]:
    """Recipe, combined by + -> the most that is known of it."""
    found: dict[str, str] = {}

    def note(names: set[str], status: str) -> None:
        for name in names:
            found[name] = max(found.get(name, status), status, key=RANK.index)

    note(recipes_of(TESTS / "unit" / "test_recipes.py", "passes_its_dry_run"), PLAN)
    for path in RESULTS.glob("*/runs.zip"):
        with zipfile.ZipFile(path) as packed:
            configs = [name for name in packed.namelist() if name.endswith("/config.yaml")]
            note({str(yaml.safe_load(packed.read(name))["recipe"]) for name in configs}, ONCE)
    note({path.name for path in RESULTS.iterdir() if path.name in find_recipes()}, ONCE)
    note(recipes_of(TESTS / "unit" / "test_numeric_runs.py", "trains"), CI)
    note(recipes_of(TESTS / "unit" / "test_numeric_runs.py", "theorem_runs"), CI)
    note(recipes_of(TESTS / "real_run.py"), CI)  # which the tests of whole runs start
    note(recipes_of(TESTS / "e2e" / "shared" / "test_methods.py", "a_method_trains"), CI)
    note(recipes_of(TESTS / "e2e" / "test_pretrained.py", "trained"), CI)
    note(recipes_of(TESTS / "bridge" / "test_hosted.py"), CI)
    return found


def split() -> tuple[dict[str, Any], list[str]]:
    """The whole recipes with their configurations, and the names of the methods that are laid over them."""
    content = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in find_recipes().items()}
    whole = {name: load_config([f"recipe={name}"]) for name, keys in content.items() if "env" in keys}
    return whole, sorted(set(content) - set(whole))


def place(config: Any) -> tuple[str, str, str]:
    """Environment, engine and hardware of a whole recipe."""
    hardware = "GPU" if config.hardware.device == "cuda" else "CPU"
    where = {"numeric": ("numbers", hardware), "hosted": ("hosted", "an API")}
    return config.env.name, *where.get(config.model.path.partition(":")[0], ("verl", hardware))


def matrix() -> str:
    """docs/matrix.md."""
    (whole, methods), known = split(), statuses()
    cells: dict[tuple[str, tuple[str, str, str]], str] = {}
    for name, status in known.items():
        base, _, method = name.partition("+")
        if base in whole:
            key = method.split("+")[0] if "+" not in method else "", place(whole[base])
            if key[0] or not method:
                cells[key] = max(cells.get(key, status), status, key=RANK.index)
    columns = sorted({place(config) for config in whole.values()}, key=lambda at: (at[2], at[1] != "verl", at[0]))
    head = "| method | " + " | ".join(" ".join(column) for column in columns) + " |\n|---"
    lines = [head + "|---" * len(columns) + "|"]
    for method in ["", *methods]:
        title = f"`+{method}`" if method else "as the recipe says"
        lines.append(f"| {title} | " + " | ".join(cells.get((method, column), "") for column in columns) + " |")
    rows = [
        f"| `{name}` | {' | '.join(place(config))} | `{config.model.path}` | {known.get(name, '')} |"
        for name, config in sorted(whole.items(), key=lambda item: (place(item[1])[::-1], item[0]))
    ]
    return (
        f"{MADE}{LEGEND}\n## Methods\n\nThe most that is known of any recipe of a column, with a method over it.\n\n"
        + "\n".join(lines)
        + "\n\n## Recipes\n\n| recipe | environment | engine | hardware | model | known |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def cli() -> str:
    """docs/cli.md: the tree of parsers, a table a command."""
    blocks = list(_commands(_parser(), "rmft-verl"))
    text = (
        "# Commands\n\nEvery command says the same with `--help`. `rmft-verl train` and\n"
        "`python -m rmft_verl.main` take `recipe=NAME key=value ...`: [configuration.md](configuration.md).\n"
    )
    return MADE + text + "".join(blocks)


def _commands(parser: argparse.ArgumentParser, name: str, about: str = "") -> Iterator[str]:
    trees = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    own = [action for action in parser._actions if action not in trees and action.dest != "help"]
    if not trees:
        yield f"\n## {name}\n\n{_sentence(about)}\n"
        if own:
            yield "\n| argument | default | meaning |\n|---|---|---|\n" + "".join(map(_row, own))
    for tree in trees:
        abouts = {choice.dest: choice.help or "" for choice in tree._choices_actions}
        for command, below in tree.choices.items():
            yield from _commands(below, f"{name} {command}", abouts.get(command, ""))


def _row(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else (action.dest.upper() if action.nargs != 0 else "")
    if action.choices:
        shown = ", ".join(map(str, action.choices))
    words = [", ".join(action.option_strings), shown]
    default = "" if action.default in (None, False, [], ()) or action.default is argparse.SUPPRESS else action.default
    default = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else default
    needed = " (needed)" if action.option_strings and action.required else ""
    cells = [f"`{' '.join(filter(None, words))}`", f"`{default}`" if default != "" else "", action.help or ""]
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + needed + " |\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


PAGES = {"cli.md": cli, "matrix.md": matrix}
"""File in docs/ -> what makes it."""

if __name__ == "__main__":
    for file, make in PAGES.items():
        (ROOT / "docs" / file).write_text(make(), encoding="utf-8")
        print(f"docs/{file}")
