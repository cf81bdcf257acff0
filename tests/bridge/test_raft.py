"""The method of docs/write_a_method.md, as it stands there: one file and one line in ``METHODS``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cpu_engine import configured, dialogues, distance, gradient_of, small_model, train, training_rows, verl_rows

from rmft_verl.algo import METHODS
from rmft_verl.algo.method import Method
from rmft_verl.types import Scored, Tokens

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write_a_method.md"


@pytest.fixture
def raft() -> Iterator[Method]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    found: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), found)
    METHODS["raft"] = found["RAFT"]()
    yield METHODS["raft"]
    del METHODS["raft"]


def moved_model() -> Any:
    model = small_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def by_hand(model: Any, samples: list[Tokens], old: list[torch.Tensor], beta: float) -> torch.Tensor:
    """The same from the definition: the mean over sampled tokens of -log p + beta (p_old / p - 1 - log(p_old / p))."""
    terms = []
    for row, before, tokens in zip(verl_rows(model, samples), old, samples, strict=True):
        mask = torch.tensor(tokens.mask_N[1:] == 1)
        new, base = row[:-1][mask], before[:-1][mask]
        ratio = (base - new).exp()
        terms.append(-new + beta * (ratio - 1 - ratio.log()))
    return torch.cat(terms).mean()


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("most_tokens", [10_000, 80])
def test_loss_and_gradient_are_those_of_the_definition(raft: Method, most_tokens: int) -> None:
    model, samples, config = small_model(), dialogues(6), configured(loss="raft", beta=0.3)
    with torch.no_grad():
        old = verl_rows(moved_model(), samples)
    expected = by_hand(model, samples, old, 0.3)
    gradient = gradient_of(model, expected)
    found, ours, _, n_micro = train(model, training_rows(config, samples, old=old), most_tokens=most_tokens)
    assert (n_micro > 1) == (most_tokens == 80)
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert distance(ours, gradient) < 1e-5


def test_it_takes_the_best_of_each_scenario(raft: Method) -> None:
    from test_grpo_loss import played

    plays = [played("a", 2), played("b", 2), played("a", 2), played("b", 2)]
    scored = [Scored(play, score, place) for place, (play, score) in enumerate(zip(plays, (2, 1, 0, 3), strict=True))]
    batch = raft.choose(scored, configured(loss="raft"), np.random.default_rng(0))
    assert sorted(batch.kept) == [1, 2]
