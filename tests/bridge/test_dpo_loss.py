"""DPO through verl's engine against TRL's on the same model and tokens: loss, rewards and gradient, to 1e-5."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cpu_engine import configured, dialogues, distance, gradient_of, small_model, train, training_rows, verl_rows
from trl import DPOTrainer
from verl.utils import tensordict_utils as tu

from rmft_verl.bridge.training.losses import loss
from rmft_verl.config import Config
from rmft_verl.types import Tokens

pytestmark = pytest.mark.usefixtures("process")

BETA = 0.1


def reference(samples: list[Tokens]) -> list[torch.Tensor]:
    """verl's rows of another model than the one that is trained: the same, with its weights moved."""
    model = small_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        return verl_rows(model, samples)


def summed(rows: list[torch.Tensor], samples: list[Tokens]) -> list[float]:
    """Of each sample the log-probability of its sampled tokens, by masks of its own."""
    masks = [torch.tensor(tokens.mask_N[1:] == 1) for tokens in samples]
    return [row[:-1][mask].sum().item() for row, mask in zip(rows, masks, strict=True)]


def dpo(sft_term: float = 0.0) -> Config:
    return configured(loss="dpo", beta=BETA, sft_term=sft_term)


def trl_loss(model: Any, samples: list[Tokens], reference: list[float], sft_term: float) -> tuple[torch.Tensor, Any]:
    """TRL's loss and metrics; its batch is padded, all chosen rows before all rejected ones."""
    order = [*range(0, len(samples), 2), *range(1, len(samples), 2)]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    inputs = {
        "input_ids": pad([torch.tensor(samples[i].ids_N, dtype=torch.long) for i in order]),
        "attention_mask": pad([torch.ones(len(samples[i].ids_N), dtype=torch.long) for i in order]),
        "completion_mask": pad([torch.tensor(samples[i].mask_N, dtype=torch.long) for i in order]),
        "ref_chosen_logps": torch.tensor(reference[0::2]),
        "ref_rejected_logps": torch.tensor(reference[1::2]),
    }
    trainer = SimpleNamespace(
        model=model,
        accelerator=SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value),
        beta=BETA,
        loss_types=["sigmoid", "sft"] if sft_term else ["sigmoid"],
        loss_weights=[1.0, sft_term] if sft_term else [1.0],
        f_divergence_type="reverse_kl",
        label_smoothing=0.0,
        precompute_ref_logps=True,
        ld_alpha=None,
        use_weighting=False,
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
    )
    loss = DPOTrainer._compute_loss(trainer, model, inputs, return_outputs=False)
    return loss, {key: value[0] for key, value in trainer._metrics["train"].items()}


@pytest.mark.parametrize("most_tokens", [10_000, 130])
@pytest.mark.parametrize("sft_term", [0.0, 0.7])
def test_loss_rewards_and_gradient_are_those_of_trl(sft_term: float, most_tokens: int) -> None:
    model, samples = small_model(), dialogues(10)
    ref = reference(samples)
    expected, theirs = trl_loss(model, samples, summed(ref, samples), sft_term)
    gradient = gradient_of(model, expected)

    batch = training_rows(dpo(sft_term), samples, old=ref)
    value, found, ours, n_micro = train(model, batch, most_tokens=most_tokens)
    assert (n_micro > 1) == (most_tokens == 130)
    assert value == pytest.approx(expected.item(), rel=1e-5)
    assert distance(found, gradient) < 1e-5
    assert ours["update/dpo_margin"] == pytest.approx(theirs["rewards/margins"], rel=1e-5)
    assert ours["update/dpo_chosen"] == pytest.approx(theirs["rewards/chosen"], rel=1e-5)
    assert ours["update/dpo_rejected"] == pytest.approx(theirs["rewards/rejected"], rel=1e-5)
    assert ours["update/dpo_accuracy"] == pytest.approx(theirs["rewards/accuracies"])
    assert abs(theirs["rewards/margins"]) > 0.1 and 0 < theirs["rewards/accuracies"] < 1  # a comparison that can fail


def test_gpus_average_to_the_whole() -> None:
    """Two GPUs with half of the pairs each: the mean of their losses is the loss of all, and so are the metrics."""
    samples, model = dialogues(8), small_model()
    ref = reference(samples)

    def rows(part: list[Tokens], reference: list[torch.Tensor], gpus: int) -> Any:
        batch = training_rows(dpo(0.5), part, old=reference)
        chosen = sum(int(tokens.mask_N.sum()) for tokens in samples[0::2])
        tu.assign_non_tensor(batch, dp_size=gpus, global_batch_size=8, batch_num_tokens=chosen)
        with torch.no_grad():
            log_probs = torch.nested.as_nested_tensor(verl_rows(model, part), layout=torch.jagged)
        return loss({"log_probs": log_probs}, batch, actor=None)

    whole, of_whole = rows(samples, ref, 1)
    parts = [rows(samples[:4], ref[:4], 2), rows(samples[4:], ref[4:], 2)]
    assert sum(value.item() for value, _ in parts) / 2 == pytest.approx(whole.item(), rel=1e-6)
    for key, metric in of_whole.items():
        assert metric.aggregate_dp([metrics[key] for _, metrics in parts]) == pytest.approx(metric.aggregate())


def test_the_reference_at_the_start_makes_no_margin() -> None:
    model, samples = small_model(), dialogues(4)
    with torch.no_grad():
        batch = training_rows(dpo(), samples, old=verl_rows(model, samples))
    value, _, metrics, _ = train(model, batch)
    assert value == pytest.approx(0.693147, rel=1e-5)
    assert metrics["update/dpo_margin"] == pytest.approx(0, abs=1e-5)
