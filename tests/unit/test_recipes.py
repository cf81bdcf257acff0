"""Every recipe that ships can start: resolved against verl's own schema, without a GPU or weights."""

from __future__ import annotations

import re

import pytest

from rmft_verl.main import main
from rmft_verl.recipe import find_recipes


@pytest.mark.verl
@pytest.mark.parametrize("name", sorted(find_recipes()))
def test_a_recipe_passes_its_dry_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"recipe={name}", "dry_run=true"]) == 0
    plan = capsys.readouterr().out
    assert f"plan of recipe {name}: " in plan
    spare = re.search(r"spare: (\d+) tokens", plan)
    assert spare is not None and int(spare[1]) >= 0


@pytest.mark.parametrize("name", sorted(find_recipes()))
def test_a_recipe_says_how_it_is_run_and_what_is_known(name: str) -> None:
    header = [line for line in find_recipes()[name].read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = " ".join(header)
    assert f"recipe={name}" in text
    assert "docs/results.md" in text or "docs/gpu.md" in text
