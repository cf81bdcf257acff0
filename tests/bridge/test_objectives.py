"""Which samples an update takes from what it is given, whom it asks for log-probabilities, and what it logs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import actor_config, dialogues
from omegaconf import OmegaConf
from templates import shipped

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.training.objectives import DPO, GRPO, SFT, Setting, setting
from rmft_verl.bridge.verl_config import compose_verl, derive
from rmft_verl.config import Config, ConfigError
from rmft_verl.env.tokens import Budget
from rmft_verl.setup.models import tiny_path
from rmft_verl.types import CreditedTrajectory, Oracle, PreferencePair, Scenario, StopReason, Tokens, Trajectory


def made(update: dict[str, Any], **options: Any) -> Setting:
    config = Config()
    for key, value in update.items():
        setattr(config.update, key, value)
    config.rollout.temperature = 0.7
    return Setting(config, actor_config(**options), True, ChatTemplate(*shipped()))


def play(tokens: Sequence[Tokens], context: str = "a") -> Trajectory:
    scenario = Scenario("mab", 3, ("amber", "slate"), context, {"means": [0.2, 0.8]})
    oracle = Oracle(np.tile([0.2, 0.8], (3, 1)), "pseudo")
    return Trajectory(scenario, "model", (), oracle, StopReason.COMPLETED, 0, 0, tokens=tuple(tokens))


class Model:
    """Says that every token of a sample has the log-probability of its first id, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    def __call__(self, samples: Sequence[Tokens], temperature: float) -> list[torch.Tensor]:
        self.asked.append((len(samples), temperature))
        return [torch.full((len(tokens.ids_N),), -float(tokens.ids_N[0])) for tokens in samples]


def ids(batch: Any) -> list[list[int]]:
    return [row.tolist() for row in batch["input_ids"].unbind()]


def test_sft_trains_the_plays_as_they_are() -> None:
    samples, model = dialogues(5), Model()
    objective = SFT([play(samples[:2]), play(samples[2:])], made({}))
    batch = objective.batch([4, 0, 2], model)
    assert (objective.together, objective.left_out, len(objective.samples)) == (1, 0, 5)
    assert batch["loss"] == "sft" and model.asked == []
    assert ids(batch) == [samples[i].ids_N.tolist() for i in (4, 0, 2)]
    assert [row.tolist() for row in batch["loss_mask"].unbind()] == [samples[i].mask_N.tolist() for i in (4, 0, 2)]


def test_sft_weighs_the_plays_alike_whatever_was_drawn() -> None:
    """Sample 1 is not drawn: the first play has one row, the second three."""
    samples = dialogues(5)
    batch = SFT([play(samples[:2]), play(samples[2:])], made({"weighting": "trajectory"})).batch([4, 0, 2, 3], Model())
    assert batch["loss"] == "sft_by_trajectory"
    assert batch["weight"].tolist() == pytest.approx([2 / 3, 2, 2 / 3, 2 / 3])


def test_sft_on_the_action_keeps_ids_and_narrows_the_mask() -> None:
    setting = made({"train_on": "action"})
    words = setting.template.reply("So.\nAction: amber")
    tokens = Tokens(np.array([1, 2, *words]), np.array([0, 0] + [1] * len(words), dtype=np.int8), 2)
    batch = SFT([play([tokens])], setting).batch([0], Model())
    assert ids(batch) == [tokens.ids_N.tolist()]
    assert 0 < int(batch["loss_mask"].values().sum()) < len(words)


def test_dpo_takes_the_reference_from_the_model_that_played() -> None:
    samples, model = dialogues(6), Model()
    pairs = [PreferencePair(play([samples[i]]), play([samples[i + 1]])) for i in (0, 2, 4)]
    objective = DPO(pairs, made({"beta": 0.3, "sft_term": 0.5}))
    batch = objective.batch([4, 5, 0, 1], model)
    assert objective.together == 2 and model.asked == [(4, 1.0)]
    assert (batch["loss"], batch["beta"], batch["sft_term"]) == ("dpo", 0.3, 0.5)
    assert ids(batch) == [samples[i].ids_N.tolist() for i in (4, 5, 0, 1)]
    expected = [-float(samples[i].ids_N[0]) * int(samples[i].mask_N.sum()) for i in (4, 5, 0, 1)]
    assert batch["reference"].tolist() == expected
    trained = [int(row.sum()) for row in batch["loss_mask"].unbind()]
    assert trained[1::2] == [0, 0] and min(trained[0::2]) > 0
    of_verl = {
        "dpo/accuracy": [0.5, 1.0],
        "dpo/margin": [0.1, 0.3],
        "dpo/chosen": [0, 0.1],
        "dpo/rejected": [-0.1, -0.2],
    }
    means = {"accuracy": 0.75, "margin": 0.2, "chosen": 0.05, "rejected": -0.15}
    found = objective.metrics(of_verl, batch)
    assert found == {f"update/dpo_{name}": pytest.approx(value) for name, value in means.items()}


def test_dpo_refuses_plays_of_several_samples() -> None:
    samples = dialogues(3)
    with pytest.raises(ValueError):
        DPO([PreferencePair(play(samples[:2]), play(samples[2:]))], made({}))


def test_grpo_asks_at_the_temperature_of_the_play() -> None:
    samples, model = dialogues(4), Model()
    plays = [
        CreditedTrajectory(play([tokens], context), np.array([value] * 3))
        for tokens, context, value in zip(samples, "aaba", (0.0, 1.0, 5.0, 2.0), strict=True)
    ]
    objective = GRPO(plays, made({"loss": "grpo"}))
    assert (objective.left_out, len(objective.samples)) == (1, 3)  # the lone play of scenario b
    batch = objective.batch([2, 0], model)
    assert model.asked == [(2, 0.7)] and batch["temperature"] == 0.7 and not batch["calculate_entropy"]
    rows = batch["advantages"].unbind(), batch["response_mask"].unbind()
    for sign, advantages, mask in zip((1.0, -1.0), *rows, strict=True):
        assert advantages[mask.bool()].tolist() == pytest.approx([sign] * int(mask.sum()), rel=1e-5)
        assert not advantages[~mask.bool()].any()
    old = batch["old_log_probs"].unbind()
    assert [row[0].item() for row in old] == [-float(samples[i].ids_N[0]) for i in (3, 0)]
    logged = objective.metrics({"actor/pg_clipfrac": [0.1, 0.3], "actor/ppo_kl": [0.0, 0.02]}, batch)
    assert logged == pytest.approx(
        {"update/clip_fraction": 0.2, "update/kl": 0.01, "update/advantage_abs": 1.0}, rel=1e-5
    )


def test_an_entropy_bonus_asks_for_entropies() -> None:
    plays = [CreditedTrajectory(play([tokens]), np.array([value] * 3)) for value, tokens in enumerate(dialogues(2))]
    assert GRPO(plays, made({}, entropy_coeff=0.01)).batch([0, 1], Model())["calculate_entropy"]


def resolved(update: dict[str, Any], raw: dict[str, Any]) -> tuple[Config, Any]:
    config = Config()
    config.update = dataclasses.replace(config.update, **update)
    derived = derive(config, "cpu", str(tiny_path("mab")), Budget(100, 100, 4, 16, 4))
    return config, compose_verl(derived, raw)


def test_overrides_of_verl_reach_the_loss() -> None:
    actor = {"clip_ratio_high": 0.28, "loss_agg_mode": "seq-mean-token-mean"}
    raw = {"actor_rollout_ref": {"actor": actor}, "algorithm": {"norm_adv_by_std_in_grpo": False}}
    found = setting(*resolved({"loss": "grpo"}, raw), ChatTemplate(*shipped()))
    assert (found.actor.clip_ratio_high, found.actor.loss_agg_mode, found.by_std) == (
        0.28,
        "seq-mean-token-mean",
        False,
    )


def test_a_penalty_towards_a_reference_model_is_refused() -> None:
    raw = {"actor_rollout_ref": {"actor": {"use_kl_loss": True}}}
    with pytest.raises(ConfigError, match="use_kl_loss=true needs a reference model"):
        setting(*resolved({"loss": "grpo"}, raw), ChatTemplate(*shipped()))


def test_every_run_can_save_and_load_all_that_an_update_depends_on() -> None:
    _, verl_config = resolved({}, {})
    checkpoint = OmegaConf.to_container(verl_config.actor_rollout_ref.actor.checkpoint)
    assert checkpoint["save_contents"] == ["hf_model", "model", "optimizer", "extra"]
    assert checkpoint["load_contents"] == ["model", "optimizer", "extra"]
