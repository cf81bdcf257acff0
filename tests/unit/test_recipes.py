"""Every recipe that ships can start: resolved against verl's own schema, without a GPU or weights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from rmft_verl.config import ConfigError
from rmft_verl.env import load_env
from rmft_verl.env.tokens import Budget, measure_budget
from rmft_verl.main import main
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.recipe import find_recipes, load_config

RECIPES = find_recipes()
CONTENT = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in RECIPES.items()}
NUMERIC = sorted(name for name, keys in CONTENT.items() if keys.get("model", {}).get("path", "").startswith("numeric:"))
WHOLE = sorted(name for name, keys in CONTENT.items() if "env" in keys and name not in NUMERIC)
ON_NUMBERS = ("dpt", "regret_loss")
METHODS = sorted(set(RECIPES) - {*WHOLE, *NUMERIC, *ON_NUMBERS})
"""Laid over a whole recipe; those of ``ON_NUMBERS`` over one of ``NUMERIC``."""


@pytest.mark.verl
@pytest.mark.parametrize(
    "name",
    [*WHOLE, *(f"{base}+{name}" for name in METHODS for base in ("mab_tiny", "mab_qwen3"))],
)
def test_a_recipe_passes_its_dry_run(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if load_config([f"recipe={name}"]).model.path == "tiny:announced-0":  # its build takes minutes
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        shutil.copytree(tiny_path("mab"), tiny_path("announced-0"))
    assert main([f"recipe={name}", "dry_run=true"]) == 0
    plan = capsys.readouterr().out
    assert f"plan of recipe {name}: " in plan
    spare = re.search(r"spare: (\d+) tokens", plan)
    assert spare is not None and int(spare[1]) >= 0


@pytest.mark.verl
@pytest.mark.verl
def test_the_plan_counts_replies_that_are_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Every round may take a second reply and the question before it: 10 x (question + reply) more."""
    arguments = ["recipe=mab_qwen3", "env.options.horizon=[10]", "env.eval_options={}", "dry_run=true"]

    def budget(rule: str, history: str = "dialogue") -> Budget:
        sets = [{"horizon": [10]}]
        return measure_budget(load_env("mab"), sets, 100, lambda messages, opening: 7, history, (), rule)

    assert budget("reask").most - budget("reask").total == 10 * (7 + 100)
    assert budget("reask", "transcript").most - budget("reask", "transcript").total == 7 + 100
    assert budget("end").most == budget("end").total == budget("reask").total
    assert main([*arguments, "rollout.on_invalid=reask", "rollout.reply_tokens=256", "model.context=4096"]) == 0
    assert re.search(r"if every reply is asked again: \d+; a dialogue that outgrows", capsys.readouterr().out)
    assert main([*arguments, "rollout.reply_tokens=256", "model.context=4096"]) == 0
    assert "asked again" not in capsys.readouterr().out


@pytest.mark.parametrize("game", ["fol", "nsmab", "mixed"])
def test_long_pairs_fit_as_the_header_of_dpo_says(game: str, capsys: pytest.CaptureFixture[str]) -> None:
    header = RECIPES["dpo"].read_text(encoding="utf-8")
    assert f"{game}_qwen3" in header and "hardware.tokens_per_gpu=32768" in header
    assert main([f"recipe={game}_qwen3+dpo", "hardware.tokens_per_gpu=32768", "dry_run=true"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("name", [*NUMERIC, *(f"fol_numeric+{name}" for name in (*ON_NUMBERS, "random", "one_round"))])
def test_a_numerical_recipe_passes_its_dry_run_without_verl(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"recipe={name}", "dry_run=true"]) == 0
    assert f"plan of recipe {name}: numeric:" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_says_how_it_is_run_and_what_is_known(name: str) -> None:
    header = [line for line in RECIPES[name].read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = " ".join(header)
    assert any(f"recipe={base}{name}" in text for base in ("", "mab_tiny+", "mab_qwen3+", "fol_numeric+"))
    assert "docs/results.md" in text or "docs/gpu.md" in text


def test_later_layers_win_and_the_command_line_wins_over_all() -> None:
    config = load_config(["recipe=mab_tiny+dpo+one_round", "selection.keep=3"])
    assert (config.update.loss, config.iterations, config.selection.keep) == ("dpo", 1, 3)
    assert config.update.lr == load_config(["recipe=mab_tiny"]).update.lr
    assert config.recipe == "mab_tiny+dpo+one_round"


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(ConfigError, match="recipe='dop': no such recipe"):
        load_config(["recipe=mab_tiny+dop"])
