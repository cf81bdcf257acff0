"""The rules that keep the code small and pointing one way, checked on its syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rmft_verl"

LEVELS = (
    "types",
    "config",
    "env",
    "players",
    "algo",
    "store",
    "bridge",
    "setup",
    "eval",
    "train",
    "labs",
    "main",
)
"""The top floor of the package: an entry may import from the entries before it and from itself. No exceptions."""

HEAVY = {
    "verl": ("bridge", "algo/grpo"),  # its policy loss
    "ray": ("bridge",),
    "vllm": ("bridge",),
    "tensordict": ("bridge",),
    "torch": ("bridge", "labs", "setup/smollm2", "setup/soften", "algo"),
    "transformers": ("bridge", "labs", "setup/smollm2", "setup/soften"),
    "tokenizers": ("labs",),
    "safetensors": ("bridge", "labs"),
    "wandb": ("store/tracking",),
}
"""Import -> the only places in the package that may have it."""

WITH_TORCH = ("bridge", "labs")
"""Packages with modules that import torch, verl or Ray when they are imported."""

MOST_LINES, MOST_LINES_OF = 300, {"rmft_verl/train/trainer.py": 200}
MOST_ENTRIES = 12
MOST_FUNCTION_LINES = 60
MOST_CONFIG_FIELDS = 80


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def part(path: Path) -> str:
    """The module of the package's top level that a file belongs to: ``players`` for players/ucb1.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of every import in a file, those inside functions included; ``a.b`` for ``from a import b``."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(path: Path) -> set[str]:
    """The top-level modules of rmft_verl that a file imports."""
    dotted = (name.split(".") for name in imports(path) if name.startswith("rmft_verl."))
    return {names[1] for names in dotted} - {"__version__"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_top_floor_is_one_screen():
    floor = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert floor - {"recipes"} == set(LEVELS)  # recipes: in an installed wheel
    assert len(LEVELS) <= MOST_ENTRIES


@pytest.mark.parametrize("path", sources("rmft_verl"), ids=relative)
def test_arrows_point_one_way(path):
    if part(path) == "__init__":
        assert not imported_parts(path)
        return
    level = LEVELS.index(part(path))
    wrong = imported_parts(path) - set(LEVELS[: level + 1])
    assert not wrong, f"{relative(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", sources("rmft_verl"), ids=relative)
def test_heavy_imports_stay_in_their_place(path):
    for name in imports(path):
        allowed = HEAVY.get(name.split(".")[0])
        place = path.relative_to(PACKAGE).as_posix()
        assert allowed is None or place.startswith(allowed), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", sources("env_plugins"), ids=relative)
def test_plug_ins_know_only_types_and_env(path):
    assert imported_parts(path) <= {"types", "env"}
    assert not {name.split(".")[0] for name in imports(path)} & set(HEAVY)


def test_the_core_names_no_plug_in():
    core = [path for path in sources("rmft_verl") if part(path) != "labs"]  # which lays out their games
    assert not [relative(path) for path in core if any(name.startswith("env_plugins") for name in imports(path))]


def test_only_play_and_the_conformance_check_ask_for_the_truth():
    callers = {
        relative(path)
        for path in sources("rmft_verl", "env_plugins")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "oracle"
    }
    wrappers = {
        "rmft_verl/env/history.py",
        "env_plugins/mixed/env.py",
    }  # environments that pass another one's answer on
    assert callers == {"rmft_verl/env/play.py", "rmft_verl/env/check/session.py"} | wrappers


@pytest.mark.parametrize("path", sources("rmft_verl", "env_plugins"), ids=relative)
def test_size_budgets(path):
    most = MOST_LINES_OF.get(relative(path), MOST_LINES)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= most, f"{relative(path)} has {lines} lines, the budget is {most}"
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{relative(path)}: {node.name} has {length} lines"


def test_the_core_runs_without_the_heavy_packages():
    """Importing all of it, entry points included, loads none of them."""
    core = [path for path in sources("rmft_verl") if part(path) not in WITH_TORCH]
    modules = [relative(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in core]
    absent = ["torch", "verl", "ray", "vllm", "wandb", "matplotlib", "transformers", "pyarrow"]
    code = f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\n"
    code += f"print([name for name in {absent} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"


def test_the_configuration_stays_small():
    classes = [node for node in tree(PACKAGE / "config.py").body if isinstance(node, ast.ClassDef)]
    dataclasses = [node for node in classes if any("dataclass" in ast.unparse(d) for d in node.decorator_list)]
    fields = [item for node in dataclasses for item in node.body if isinstance(item, ast.AnnAssign)]
    groups = [field for field in fields if ast.unparse(field.annotation) in {node.name for node in dataclasses}]
    assert 0 < len(fields) - len(groups) <= MOST_CONFIG_FIELDS
