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
    {"types"},
    {"regret", "posterior", "metrics", "env", "backend", "config"},
    {
        "selection",
        "scores",
        "credit",
        "teacher",
        "players",
        "play",
        "history",
        "answers",
        "examples",
        "run_dir",
        "trajectory_file",
        "checkpoints",
        "stored_config",
        "interrupt",
        "tracking",
        "recipe",
        "refusals",
        "plan",
        "console",
        "check",
        "scaffold",
        "warmup",
    },
    {
        "trainer",
        "record",
        "fork",
        "lesson",
        "fit",
        "evaluate",
        "iteration_metrics",
        "table",
        "figures",
        "report",
        "cost",
        "eval_dir",
        "prepare",
        "person",
        "budget",
    },
    {"run", "doctor", "envs_command", "targets", "eval_options"},
    {"numeric"},  # the same run and files without verl; torch is imported by what the run starts
    {"contestants"},
    {"evaluation", "rescore", "compare"},
    {"main", "cli"},
)
"""A module may import modules of the levels before its own."""

SIDEWAYS = {
    "metrics": {"regret"},
    "refusals": {"selection", "scores", "credit", "players", "play", "history"},  # the names on offer
    "recipe": {"refusals"},
    "credit": {"players"},  # UCB's constant
    "teacher": {"players", "play", "history"},
    "plan": {"history"},
    "examples": {"plan", "teacher", "warmup"},  # warmup: who plays them
    "players": {"play"},  # the protocol they follow
    "trajectory_file": {"run_dir"},  # atomic writes
    "checkpoints": {"run_dir"},  # the same
    "stored_config": {"run_dir", "tracking"},  # tracking: warnings
    "trainer": {"budget", "evaluate", "iteration_metrics", "lesson", "record"},  # evaluate: the seeds of an evaluation
    "report": {"table", "figures"},
    "person": {"evaluate"},  # which players a person is shown beside
    "prepare": {"bridge", "tiny", "fit"},  # tiny: where the shipped models lie
    "run": {"bridge"},
    "doctor": {"bridge", "run"},  # what it knows of the machine; how a run starts verl
    "cli": {"main", "bridge", "tiny"},
}
"""What a module may import besides, and why where it is not plain."""

AROUND = {"bridge", "numeric", "tiny"}
"""Packages around the core, importing levels 0 to 2 of it (``numeric``: see ``LEVELS``)."""

HEAVY = {
    "verl": {"bridge"},
    "ray": {"bridge"},
    "vllm": {"bridge"},
    "tensordict": {"bridge"},
    "torch": AROUND,
    "transformers": AROUND,
    "tokenizers": AROUND,
    "safetensors": AROUND,
    "wandb": {"tracking"},
}
"""Import -> the only parts of the package that may have it."""

MOST_LINES, MOST_LINES_OF = 300, {"rmft_verl/trainer.py": 200}
MOST_FUNCTION_LINES = 60
MOST_CONFIG_FIELDS = 79  # the last ones, warmup and model.chat_template_file, are for pretrained models


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


def allowed_parts(name: str) -> set[str]:
    levels = [index for index, names in enumerate(LEVELS) if name in names]
    assert levels or name in AROUND, f"give {name} a level in LEVELS"
    return set().union(*LEVELS[: levels[0] if levels else 3], {name}, SIDEWAYS.get(name, set()))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("rmft_verl"), ids=relative)
def test_arrows_point_one_way(path):
    if part(path) == "__init__":
        assert not imported_parts(path)
        return
    wrong = imported_parts(path) - allowed_parts(part(path))
    assert not wrong, f"{relative(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", sources("rmft_verl"), ids=relative)
def test_heavy_imports_stay_in_their_place(path):
    for name in imports(path):
        allowed = HEAVY.get(name.split(".")[0])
        assert allowed is None or part(path) in allowed, f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", sources("env_plugins"), ids=relative)
def test_plug_ins_know_only_types_and_env(path):
    assert imported_parts(path) <= {"types", "env"}
    assert not {name.split(".")[0] for name in imports(path)} & set(HEAVY)


def test_the_core_names_no_plug_in():
    core = [path for path in sources("rmft_verl") if part(path) not in ("tiny", "numeric")]  # they lay out its games
    assert not [relative(path) for path in core if any(name.startswith("env_plugins") for name in imports(path))]


def test_only_play_and_the_conformance_check_ask_for_the_truth():
    callers = {
        relative(path)
        for path in sources("rmft_verl", "env_plugins")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "oracle"
    }
    wrappers = {"rmft_verl/history.py", "env_plugins/mixed/env.py"}  # environments that pass another one's answer on
    assert callers == {"rmft_verl/play.py", "rmft_verl/check/session.py"} | wrappers


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
    core = [path for path in sources("rmft_verl") if part(path) not in AROUND]
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
