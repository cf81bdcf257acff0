"""The checksum of weights, and what is concluded from it. Real engines are asked in tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest
import ray
import torch

from rmft_verl.bridge.backend import StaleSamplerError
from rmft_verl.bridge.checksum import DIFFERENT, Checksum, counted
from rmft_verl.bridge.cluster.sampler import SamplerExtension
from rmft_verl.bridge.training import receipt
from rmft_verl.bridge.training.receipt import Receipt


def checksum(*tensors: torch.Tensor) -> tuple[int, int]:
    found = Checksum()
    for tensor in tensors:
        found.add(tensor)
    return found.value


def test_it_is_the_sum_of_bit_patterns_and_of_their_squares() -> None:
    """bfloat16: 1 = 0x3F80, -2 = 0xC000 = -0x4000 as a signed number, 0 = 0."""
    one, two = 0x3F80, -0x4000
    expected = (2 * one + two) % 2**64, 2 * one**2 + two**2
    assert checksum(torch.tensor([1.0, 1.0, -2.0, 0.0])) == expected


def test_tensors_may_be_joined_split_padded_reordered_and_rounded() -> None:
    parts = [torch.randn(5, 3), torch.randn(2, 3)]
    joined = torch.cat([parts[1], parts[0], torch.zeros(4, 3)]).to(torch.bfloat16)
    assert checksum(*parts) == checksum(joined.T) == checksum(joined)


def test_one_bit_more_and_one_less_do_not_cancel() -> None:
    bits = torch.tensor([16000, 16100], dtype=torch.int16)
    changed = bits + torch.tensor([1, -1], dtype=torch.int16)
    assert checksum(bits.view(torch.bfloat16)) != checksum(changed.view(torch.bfloat16))


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.randn(1001)
    whole = checksum(weights)
    monkeypatch.setattr("rmft_verl.bridge.checksum.CHUNK", 10)
    assert checksum(weights) == whole


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_sent_is_passed_on_and_a_tied_head_counts_once(tied: bool) -> None:
    embeddings, norm = torch.randn(6, 4), torch.ones(4)
    head = embeddings.clone() if tied else torch.randn(6, 4)
    names = ["model.embed_tokens.weight", "a.norm.weight", "b.norm.weight", "lm_head.weight"]
    sent = list(zip(names, [embeddings, norm, norm.clone(), head], strict=True))
    into = Checksum()
    assert list(counted(iter(sent), into)) == sent
    assert into.value == checksum(embeddings, norm, norm, *([] if tied else [head]))


class Engine(SamplerExtension):
    """What of a vLLM worker the question needs."""

    def __new__(cls, model: torch.nn.Module) -> Engine:
        return object.__new__(cls)

    def __init__(self, model: torch.nn.Module) -> None:
        self.model_runner = type("Runner", (), {"model": model})


def test_an_engine_that_got_half_of_the_tensors_says_no() -> None:
    model, sent = torch.nn.Linear(4, 3), [torch.randn(3, 4), torch.randn(3)]
    engine = Engine(model)
    with torch.no_grad():
        model.weight.copy_(sent[0])
        with pytest.raises(ValueError, match=DIFFERENT):
            engine.confirm_weights(checksum(*sent))
        model.bias.copy_(sent[1])
    engine.confirm_weights(checksum(*sent))


class Server:
    """A server whose engine holds ``held``."""

    def __init__(self, held: Any) -> None:
        self.held = held
        self.collective_rpc = self

    def remote(self, method: str, args: tuple[Any]) -> Any:
        assert method == "confirm_weights"
        return None if args[0] == self.held else ValueError(f"{DIFFERENT}: 1")


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(answer: Any) -> None:
        if answer is not None:
            raise ray.exceptions.RayTaskError("confirm_weights", str(answer), answer)

    monkeypatch.setattr(receipt.ray, "get", get)


def test_every_replica_is_asked() -> None:
    servers = [Server((1, 1)), Server((1, 1)), Server((1, 1))]
    confirm = Receipt(servers)
    assert confirm.check((1, 1), 0, updated=False) == 1
    servers[0].held = servers[1].held = (2, 2)
    with pytest.raises(StaleSamplerError, match=r"replicas \[2\] of 3 do not hold"):
        confirm.check((2, 2), 1, updated=True)
    servers[2].held = (2, 2)
    assert confirm.check((2, 2), 1, updated=True) == 1


def test_a_trainer_that_sends_what_it_sent_before_the_update_is_caught() -> None:
    """An adapter that was left out of the merge: the engine holds what it was sent, and that is the base."""
    confirm = Receipt([Server((1, 1))])
    confirm.check((1, 1), 0, updated=False)
    with pytest.raises(StaleSamplerError, match="same weights as before the update"):
        confirm.check((1, 1), 1, updated=True)
    assert confirm.check((1, 1), 1, updated=False) == 1  # a sync that is only repeated


def test_an_engine_that_never_holds_what_it_is_sent_cannot_be_asked() -> None:
    confirm = Receipt([Server("int4")])
    assert [confirm.check((i, i), i, updated=i > 0) for i in range(3)] == [0, 0, 0]
