from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rmft_verl.algo.distill import THOUGHTS, teach
from rmft_verl.config import ConfigError
from rmft_verl.env import load_env
from rmft_verl.setup import warmup
from rmft_verl.setup.models import base_model
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.warmup import warmed, warmup_config
from rmft_verl.types import RolloutRequest

GIVEN = ["recipe=mab_tiny+warmup"]


def test_all_methods_and_seeds_share_one_warmed_base() -> None:
    bases = {
        warmed(load_config([f"recipe=mab_tiny{method}+warmup", f"seed={seed}", "update.lr=1e-3"]))
        for method in ("", "+dpo", "+grpo", "+random", "+posterior")
        for seed in (0, 1)
    }
    assert len(bases) == 1


@pytest.mark.parametrize(
    "other", ["warmup.lr=1e-4", "env.options.answer=action_only", "model.path=tiny:trio", "rollout.history=summary"]
)
def test_another_model_game_or_warm_up_has_another_base(other: str) -> None:
    assert warmed(load_config([*GIVEN, other])) != warmed(load_config(GIVEN))


def test_the_warm_up_is_one_update_on_every_play_of_a_uniform_player() -> None:
    config = load_config([*GIVEN, "warmup.scenarios=96", "warmup.lr=3e-4", "warmup.epochs=4"])
    warm = warmup_config(config)
    assert (warm.iterations, warm.rollout.player, warm.update.loss, warm.warmup.scenarios) == (1, "uniform", "sft", 0)
    assert (warm.rollout.scenarios, warm.rollout.rollouts, warm.selection.keep) == (96, 1, 1)
    assert (warm.update.lr, warm.update.epochs, warm.update.batch) == (3e-4, 4, 16)


def test_the_warmed_model_is_the_base_once_it_is_there(tmp_path: Path) -> None:
    config = load_config([*GIVEN, f"root={tmp_path}"])
    assert base_model(config).endswith("tiny/mab")
    warmed(config).mkdir(parents=True)
    (warmed(config) / "config.json").write_text("{}")
    assert base_model(config) == str(warmed(config))
    plain = dataclasses.replace(config, warmup=dataclasses.replace(config.warmup, scenarios=0))
    assert base_model(plain).endswith("tiny/mab")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("warmup.batch=200", "warmup.batch=200 must be"),
        ("warmup.epochs=0", "warmup.epochs=0: must be at least 1"),
        ("warmup.lr=nan", "warmup.lr=nan"),
    ],
)
def test_a_warm_up_that_cannot_run_is_refused(given: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config([*GIVEN, given])


def requests(answer: str) -> list[RolloutRequest]:
    generator = load_env("mab").Generator(arms=[4], horizon=[20], answer=answer)
    return [RolloutRequest(generator.draw(np.random.default_rng(i)), i, 1000 + i) for i in range(60)]


def test_uniform_thoughts_are_all_used_and_tell_nothing_of_the_move() -> None:
    plays = teach(load_env("mab"), "uniform", "dialogue", requests("free"))
    said = [(turn.text.rpartition("Action:")[0].strip(), turn.action) for play in plays for turn in play.turns]
    assert {thought for thought, _ in said} == set(THOUGHTS)
    table = np.zeros((len(THOUGHTS), 4))
    for thought, action in said:
        table[THOUGHTS.index(thought), action] += 1
    from scipy.stats import chi2_contingency

    assert chi2_contingency(table).pvalue > 0.01


def test_thoughts_name_no_move_and_give_no_reason() -> None:
    assert not any(word in " ".join(THOUGHTS).lower() for word in ("best", "highest", "again", "average", "reward"))


def test_where_one_line_is_asked_for_nothing_else_is_said() -> None:
    for play in teach(load_env("mab"), "uniform", "dialogue", requests("action_only")):
        assert all(turn.text.startswith("Action: ") and "\n" not in turn.text for turn in play.turns)


def test_a_key_that_stands_at_its_default_makes_no_new_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version adds keys: bases that were warmed before stay those of their runs."""
    whole = warmup.dataclasses.asdict
    monkeypatch.setattr(warmup.dataclasses, "asdict", lambda config: whole(config) | {"new": 0})
    before = warmup_config(load_config(["recipe=mab_smollm2+warmup"])).name
    monkeypatch.undo()
    assert warmup_config(load_config(["recipe=mab_smollm2+warmup"])).name == before
    assert warmup_config(load_config(["recipe=mab_smollm2+warmup", "warmup.lr=1e-4"])).name != before
