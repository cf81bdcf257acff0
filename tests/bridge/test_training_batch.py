"""Which rows a method gives verl, what it asks the model that played, and which of verl's options reach it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import configured, dialogues
from omegaconf import OmegaConf
from templates import shipped

from rmft_verl.algo.method import Samples
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.bridge.verl_config import compose_verl, derive
from rmft_verl.config import Config, ConfigError
from rmft_verl.env import load_env
from rmft_verl.env.tokens import Budget
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Batch, Oracle, Scenario, StopReason, Tokens, Trajectory


def play(tokens: Sequence[Tokens], context: str = "a") -> Trajectory:
    scenario = Scenario("mab", 3, ("amber", "slate"), context, {"means": [0.2, 0.8]})
    oracle = Oracle(np.tile([0.2, 0.8], (3, 1)), "pseudo")
    return Trajectory(scenario, "model", (), oracle, StopReason.COMPLETED, 0, 0, tokens=tuple(tokens))


class Backend:
    """What ``VerlBackend`` builds a batch with. Every token of a sample has the log-probability of its first id."""

    def __init__(self, config: Config, **actor: Any) -> None:
        self._config, self._template = config, ChatTemplate(*shipped())
        options = {"calculate_entropy": False, "entropy_coeff": 0.0} | actor
        algorithm = {"norm_adv_by_std_in_grpo": True}
        self._verl = OmegaConf.create({"actor_rollout_ref": {"actor": options}, "algorithm": algorithm})
        self.asked: list[tuple[int, float]] = []

    def _logprobs(self, samples: Sequence[Tokens], temperature: float) -> list[torch.Tensor]:
        self.asked.append((len(samples), temperature))
        return [torch.full((len(tokens.ids_N),), -float(tokens.ids_N[0])) for tokens in samples]

    def batch(self, batch: Batch, order: list[int]) -> Any:
        return VerlBackend._training_batch(self, Samples.of(batch).take(order))


def kept(*plays: Sequence[Tokens]) -> Batch:
    return Batch([play(tokens) for tokens in plays], range(len(plays)))


def ids(batch: Any) -> list[list[int]]:
    return [row.tolist() for row in batch["input_ids"].unbind()]


def test_sft_trains_the_plays_as_they_are() -> None:
    samples, backend = dialogues(5), Backend(configured())
    batch = backend.batch(kept(samples[:2], samples[2:]), [4, 0, 2])
    assert backend.asked == []
    assert ids(batch) == [samples[i].ids_N.tolist() for i in (4, 0, 2)]
    assert [row.tolist() for row in batch["loss_mask"].unbind()] == [samples[i].mask_N.tolist() for i in (4, 0, 2)]


def test_sft_weighs_the_plays_alike_whatever_was_drawn() -> None:
    """Sample 1 is not drawn: the first play has one row, the second three."""
    samples = dialogues(5)
    batch = Backend(configured(weighting="trajectory")).batch(kept(samples[:2], samples[2:]), [4, 0, 2, 3])
    assert batch["weight"].tolist() == pytest.approx([2 / 3, 2, 2 / 3, 2 / 3])


def test_sft_on_the_action_keeps_ids_and_narrows_the_mask() -> None:
    backend = Backend(configured(train_on="action"))
    scenario = load_env("mab").Generator(contexts="basic").draw(np.random.default_rng(0))
    said = (
        "So.",
        f"Action: {scenario.actions[0]}",
        "So it is.",
    )  # the names are the scenario's: the game must be built
    words = backend._template.reply("\n".join(said))
    tokens = Tokens(np.array([1, 2, *words]), np.array([0, 0] + [1] * len(words), dtype=np.int8), 2)
    played = Batch([dataclasses.replace(play([tokens]), scenario=scenario)], [0])
    batch = backend.batch(played, [0])
    assert ids(batch) == [tokens.ids_N.tolist()]
    trained = [token for token, mark in zip(tokens.ids_N, batch["loss_mask"].values(), strict=True) if mark]
    assert backend._template.text(trained).strip() == scenario.actions[0]  # its tokenizer has "\nAction:" as one token
    assert trained[-1] == backend._template.end
    assert batch["sampled_mask"].values().tolist() == batch["loss_mask"].values().tolist()


def test_dpo_takes_the_reference_from_the_model_that_played() -> None:
    samples, backend = dialogues(6), Backend(configured(loss="dpo", beta=0.3, sft_term=0.5))
    batch = backend.batch(kept(*([tokens] for tokens in samples)), [4, 5, 0, 1])
    assert backend.asked == [(4, 1.0)]
    assert ids(batch) == [samples[i].ids_N.tolist() for i in (4, 5, 0, 1)]
    old = [set(row.tolist()) for row in batch["old_log_probs"].unbind()]
    assert old == [{-float(samples[i].ids_N[0])} for i in (4, 5, 0, 1)]
    counted = [int(row.sum()) for row in batch["loss_mask"].unbind()]
    assert counted[1::2] == [0, 0] and min(counted[0::2]) > 0
    sampled = [row.tolist() for row in batch["sampled_mask"].unbind()]
    assert sampled == [samples[i].mask_N.tolist() for i in (4, 5, 0, 1)]


def test_grpo_asks_at_the_temperature_of_the_play() -> None:
    samples, config = dialogues(3), configured(loss="grpo")
    config.rollout = dataclasses.replace(config.rollout, temperature=0.7)
    backend = Backend(config)
    plays = [play([tokens]) for tokens in samples]
    credit = [np.array([value] * 3) for value in (0.0, 1.0, 2.0)]
    batch = backend.batch(Batch(plays, range(3), credit), [2, 0])
    assert backend.asked == [(2, 0.7)] and batch["temperature"] == 0.7 and not batch["calculate_entropy"]
    rows = batch["advantages"].unbind(), batch["response_mask"].unbind()
    for sign, advantages, mask in zip((1.0, -1.0), *rows, strict=True):
        assert advantages[mask.bool()].tolist() == pytest.approx([sign] * int(mask.sum()), rel=1e-5)
        assert not advantages[~mask.bool()].any()
    old = batch["old_log_probs"].unbind()
    assert [row[0].item() for row in old] == [-float(samples[i].ids_N[0]) for i in (2, 0)]


def test_an_entropy_bonus_asks_for_entropies() -> None:
    plays = [play([tokens]) for tokens in dialogues(2)]
    batch = Batch(plays, range(2), [np.array([value] * 3) for value in (0.0, 1.0)])
    assert Backend(configured(loss="grpo"), entropy_coeff=0.01).batch(batch, [0, 1])["calculate_entropy"]


def resolved(raw: dict[str, Any]) -> Any:
    derived = derive(Config(), "cpu", str(tiny_path("mab")), Budget(100, 100, 4, 16, 4))
    return compose_verl(derived, raw)


def test_overrides_of_verl_reach_the_loss() -> None:
    actor = {"clip_ratio_high": 0.28, "loss_agg_mode": "seq-mean-token-mean"}
    found = resolved({"actor_rollout_ref": {"actor": actor}, "algorithm": {"norm_adv_by_std_in_grpo": False}})
    actor = found.actor_rollout_ref.actor
    assert (actor.clip_ratio_high, actor.loss_agg_mode) == (0.28, "seq-mean-token-mean")
    assert found.algorithm.norm_adv_by_std_in_grpo is False


def test_a_penalty_towards_a_reference_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="use_kl_loss=true needs a reference model"):
        load_config(["recipe=mab_tiny+grpo", "verl.actor_rollout_ref.actor.use_kl_loss=true"])


def test_every_run_can_save_and_load_all_that_an_update_depends_on() -> None:
    checkpoint = OmegaConf.to_container(resolved({}).actor_rollout_ref.actor.checkpoint)
    assert checkpoint["save_contents"] == checkpoint["load_contents"] == ["model", "optimizer", "extra"]
