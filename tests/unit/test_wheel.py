"""What is in the wheel: installed outside the checkout it has its recipes, environments and tiny models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, put in front of the checkout's own."""
    made, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(made), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = made.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return site


def run(site: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_the_one_that_is_used(site: Path) -> None:
    assert run(site, "-c", "import rmft_verl; print(rmft_verl.__file__)").startswith(str(site))


def test_it_lists_recipes_and_environments(site: Path) -> None:
    recipes = run(site, "-m", "rmft_verl.main.cli", "recipes")
    assert "mab_tiny" in recipes and "mab_qwen3" in recipes
    assert "env_plugins.mab:BanditEnv" in run(site, "-m", "rmft_verl.main.cli", "envs", "list")
    assert "conforms" in run(site, "-m", "rmft_verl.main.cli", "envs", "check", "mab")


def test_it_passes_the_dry_runs(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "plan of recipe mab_qwen3" in run(site, "-m", "rmft_verl.main", "recipe=mab_qwen3", "dry_run=true")
    monkeypatch.setenv("RMFT_VERBOSE", "1")
    tiny = run(site, "-m", "rmft_verl.main", "recipe=mab_tiny", "dry_run=true")
    assert "counted with the model's tokenizer" in tiny
    assert str(site / "rmft_verl" / "labs" / "tiny" / "mab") in tiny


def test_it_has_what_the_page_of_a_run_is_made_of(site: Path) -> None:
    code = "from rmft_verl.eval.view.page import HERE; print(*sorted(path.suffix for path in HERE.iterdir()))"
    assert {".css", ".html", ".js"} <= set(run(site, "-c", code).split())
