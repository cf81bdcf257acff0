"""GRPO: verl's advantages turn by turn, verl's policy loss on the sampled tokens, and nothing on the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import (
    VOCABULARY,
    actor_config,
    configured,
    dialogues,
    distance,
    gradient_of,
    small_model,
    train,
    verl_rows,
)
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, get_policy_loss_fn
from verl.utils import tensordict_utils as tu

from rmft_verl.algo import METHODS
from rmft_verl.algo.grpo import token_advantages, turn_advantages
from rmft_verl.algo.method import Samples
from rmft_verl.bridge.training.batches import training_batch
from rmft_verl.bridge.training.losses import loss
from rmft_verl.bridge.verl_config import check_raw, compose_verl
from rmft_verl.config import Config
from rmft_verl.types import Batch, Oracle, Scenario, StopReason, Tokens, Trajectory

GRPO = configured(loss="grpo")


def played(context: str, horizon: int, tokens: tuple[Tokens, ...] = ()) -> Trajectory:
    """A play of the scenario told in ``context``."""
    scenario = Scenario("mab", horizon, ("amber", "slate"), context, {"means": [0.2, 0.8]})
    oracle = Oracle(np.tile([0.2, 0.8], (horizon, 1)), "pseudo")
    return Trajectory(scenario, "model", (), oracle, StopReason.COMPLETED, 0, 0, tokens=tokens)


def credited(*plays: tuple[str, list[float]]) -> Batch:
    """The context and the credit of each."""
    made = [played(context, len(credit_T)) for context, credit_T in plays]
    return Batch(made, range(len(made)), [np.array(credit_T) for _, credit_T in plays])


def test_plays_of_a_scenario_are_compared_turn_by_turn() -> None:
    """Written out: at turn 0 credits 1, 2, 3 (mean 2, deviation 1), at turn 1 credits 0, 0, 6 (mean 2, deviation
    sqrt(12)); the other scenario's two plays (0 and 4: mean 2, deviation sqrt(8)) stand among them."""
    plays = credited(("a", [1, 0]), ("b", [0]), ("a", [2, 0]), ("b", [4]), ("a", [3, 6]))
    found = turn_advantages(plays, by_std=True)
    expected = [[-1, -2 / 12**0.5], [-2 / 8**0.5], [0, -2 / 12**0.5], [2 / 8**0.5], [1, 4 / 12**0.5]]
    for row, numbers in zip(found, expected, strict=True):
        np.testing.assert_allclose(row, numbers, atol=1e-5)
    by_mean = turn_advantages(plays, by_std=False)
    np.testing.assert_allclose(np.concatenate(by_mean), [-1, -2, -2, 0, -2, 2, 1, 4], atol=1e-12)


def test_undivided_advantages_are_on_the_scale_of_the_return() -> None:
    """Written out: sums 4, 0 at turn 0 and 1, 0 at turn 1. Divided by 4 / sqrt(2) and 1 / sqrt(2) both turns weigh the
    same; undivided the first weighs four times as much. verl's own key says which."""
    plays = credited(("a", [4, 1]), ("a", [0, 0]))
    np.testing.assert_allclose(turn_advantages(plays, True), np.array([[1, 1], [-1, -1]]) / 2**0.5, atol=1e-5)
    np.testing.assert_allclose(turn_advantages(plays, False), [[2, 0.5], [-2, -0.5]])
    raw = {"algorithm": {"norm_adv_by_std_in_grpo": False}}
    check_raw(Config(verl=raw))
    verl = compose_verl({}, raw)
    one = Tokens(np.arange(4), np.array([0, 1, 0, 1], dtype=np.int8), 1)
    made = Batch([dataclasses.replace(each, tokens=(one,)) for each in plays.trajectories], plays.kept, plays.credit)
    rows = METHODS["grpo"].columns(Samples.of(made), GRPO, verl)["advantages"]
    assert [row.tolist() for row in rows] == [[0, 2, 0, 0.5], [0, -2, 0, -0.5]]


@pytest.mark.parametrize("by_std", [True, False])
def test_advantages_are_verls_own(by_std: bool) -> None:
    """Called once for each turn of each scenario, on one column of credits."""
    rng = np.random.default_rng(0)
    credit_P_T = rng.normal(size=(8, 5))
    found = turn_advantages(credited(*(("ab"[i % 2], list(row)) for i, row in enumerate(credit_P_T))), by_std)
    for first in (0, 1):
        for turn in range(5):
            rewards = torch.tensor(credit_P_T[first::2, turn])[:, None]
            index = np.zeros(4, dtype=object)
            theirs, _ = compute_grpo_outcome_advantage(
                rewards, torch.ones_like(rewards), index, norm_adv_by_std_in_grpo=by_std
            )
            np.testing.assert_allclose([row[turn] for row in found[first::2]], theirs[:, 0], rtol=1e-12)


def test_equal_credits_have_no_advantage() -> None:
    """In float32 they have one of 0.3 and more: their mean is not quite their value, and the deviation as little."""
    plays = credited(*[("a", [12.3, 0.1, -0.7, 17.9])] * 7)
    assert np.abs(turn_advantages(plays, by_std=True)).max() < 1e-6


def tokens(mask: list[int]) -> Tokens:
    return Tokens(np.arange(len(mask)), np.array(mask, dtype=np.int8), mask.index(1))


def test_each_reply_has_the_advantage_of_its_turn() -> None:
    dialogue = played("a", 3, (tokens([0, 0, 1, 1, 0, 1, 0, 0, 1]),))
    (row,) = token_advantages(dialogue, np.array([1.0, -2.0, 3.0]))
    assert row.tolist() == [0, 0, 1, 1, 0, -2, 0, 0, 3]
    prompts = played("a", 2, (tokens([0, 1, 1]), tokens([0, 0, 1])))
    rows = token_advantages(prompts, np.array([1.0, -2.0]))
    assert [row.tolist() for row in rows] == [[0, 1, 1], [0, 0, -2]]
    with pytest.raises(ValueError, match="3 sampled replies and 2 turns"):
        token_advantages(dialogue, np.array([1.0, 2.0]))


def made_batch(
    model: Any, samples: list[Tokens], temperature: float = 1.0, noise: float = 0.3, **options: Any
) -> tuple[Any, list[Any]]:
    """With an advantage a sampled token, and old log-probabilities ``noise`` away from the model's."""
    rng = np.random.default_rng(0)
    advantages = [rng.normal(size=len(sample.mask_N)) * sample.mask_N for sample in samples]
    with torch.no_grad():
        rows = verl_rows(model, samples, temperature)
    old = [row + torch.tensor(rng.normal(size=len(row)) * noise).float() for row in rows]
    return training_batch(GRPO, samples, {"advantages": advantages}, old, temperature, **options), advantages


def direct(model: Any, samples: list[Tokens], batch: Any, actor: Any, temperature: float = 1.0) -> tuple[Any, Any]:
    """verl's policy loss called directly, on whole padded rows with the mask of the sampled tokens."""
    rows = []
    starts = [sample.prompt_length for sample in samples]
    for sample, start in zip(samples, starts, strict=True):
        ids = torch.tensor(sample.ids_N, dtype=torch.long)
        logits = model(ids[None]).logits[0] / temperature
        rows.append(logits[:-1].log_softmax(-1).gather(1, ids[1:, None])[start - 1 :, 0])
    padded = {key: batch[key].to_padded_tensor(0.0) for key in ("old_log_probs", "advantages", "response_mask")}
    return get_policy_loss_fn("vanilla")(
        old_log_prob=padded["old_log_probs"],
        log_prob=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        advantages=padded["advantages"],
        response_mask=padded["response_mask"],
        loss_agg_mode=actor.loss_agg_mode,
        config=actor,
    )


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("overrides", [{}, {"clip_ratio_high": 0.05, "clip_ratio_low": 0.4}])
def test_the_loss_is_verls_policy_loss(overrides: dict[str, float], temperature: float) -> None:
    model, samples, actor = small_model(), dialogues(6), actor_config(**overrides)
    batch, _ = made_batch(model, samples, temperature)
    expected, theirs = direct(model, samples, batch, actor, temperature)
    gradient = gradient_of(model, expected)
    found, ours, metrics, _ = train(model, batch, actor)
    assert found == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert distance(ours, gradient) < 1e-5
    assert metrics["update/clip_fraction"] == pytest.approx(theirs["actor/pg_clipfrac"])
    assert metrics["update/kl"] == pytest.approx(theirs["actor/ppo_kl"], rel=1e-4)
    assert 0.1 < theirs["actor/pg_clipfrac"] < 0.9


@pytest.mark.usefixtures("process")
def test_a_first_step_is_on_the_policy_that_played() -> None:
    """Old log-probabilities of the model itself, as verl's rows give them, make every ratio 1."""
    model, samples = small_model(), dialogues(6)
    batch, advantages = made_batch(model, samples, noise=0.0)
    found, _, metrics, _ = train(model, batch, actor_config())
    assert metrics["update/kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["update/clip_fraction"] == 0
    n_sampled = sum(int(sample.mask_N.sum()) for sample in samples)
    assert found == pytest.approx(-np.concatenate(advantages).sum() / n_sampled, rel=1e-4)


@pytest.mark.usefixtures("process")
def test_micro_batches_do_not_change_it() -> None:
    model, samples, actor = small_model(), dialogues(8), actor_config()
    whole = train(model, made_batch(model, samples)[0], actor)
    split = train(model, made_batch(model, samples)[0], actor, most_tokens=80)
    assert (whole[3], split[3] > 1) == (1, True)
    assert split[0] == pytest.approx(whole[0], rel=1e-5)
    assert distance(split[1], whole[1]) < 1e-5


@pytest.mark.usefixtures("process")
def test_an_entropy_bonus_reaches_the_loss() -> None:
    model, samples, actor = small_model(), dialogues(4), actor_config(entropy_coeff=0.1)
    plain = train(model, made_batch(model, samples)[0], actor_config())
    bonus = train(model, made_batch(model, samples, entropy=True)[0], actor)
    assert bonus[0] == pytest.approx(plain[0] - 0.1 * bonus[2]["update/entropy"], rel=1e-5)
    assert 0 < bonus[2]["update/entropy"] < np.log(VOCABULARY)


def test_only_sampled_tokens_have_a_gradient() -> None:
    """On verl's jagged log-probabilities themselves: position j is of token j + 1."""
    model, samples = small_model(), dialogues(5)
    batch, advantages = made_batch(model, samples)
    tu.assign_non_tensor(batch, dp_size=1, global_batch_size=5, batch_num_tokens=int(batch["loss_mask"].values().sum()))
    old = [torch.zeros(len(sample.ids_N)) for sample in samples]
    for row, sample, values in zip(old, samples, batch["old_log_probs"].unbind(), strict=True):
        row[sample.prompt_length - 1 : -1] = values  # the policy that played: no ratio is clipped
    log_probs = torch.cat(old).requires_grad_()
    nested = torch.nested.nested_tensor_from_jagged(log_probs, batch["input_ids"].offsets())
    value, _ = loss({"log_probs": nested}, batch, actor=actor_config())
    value.backward()
    sampled = np.concatenate([np.append(sample.mask_N[1:], 0) for sample in samples]).astype(bool)
    assert torch.all(log_probs.grad[~sampled] == 0)
    of_next = np.concatenate([np.append(row[1:], 0) for row in advantages])
    np.testing.assert_allclose(log_probs.grad, -of_next / sampled.sum(), rtol=1e-5, atol=1e-9)
    assert torch.all(log_probs.grad[sampled] != 0)
