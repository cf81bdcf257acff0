"""The real backend, verl and vLLM with the shipped model: exact tokens, the canary, the loss, an exported model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl.backend import StaleSamplerError
from rmft_verl.bridge.agent_loop import ModelPlayer
from rmft_verl.bridge.batches import sft_batch
from rmft_verl.bridge.dialogue import ChatTemplate
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.play import play
from rmft_verl.prepare import Prepared, prepare
from rmft_verl.recipe import load_config
from rmft_verl.regret import score
from rmft_verl.run import start_backend
from rmft_verl.types import RolloutRequest, Scenario, Trajectory

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_config(["recipe=mab_tiny", "rollout.rollouts=4", "selection.keep=2", "update.batch=8"]))


@pytest.fixture(scope="module")
def backend(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VerlBackend]:
    backend = start_backend(prepared, tmp_path_factory.mktemp("run"))
    backend.sync(0)
    yield backend
    backend.close()


def scenarios(prepared: Prepared, n: int) -> list[Scenario]:
    generator: Any = prepared.env_class.Generator(**prepared.config.env.options)
    rng = np.random.default_rng(7)
    return [generator.draw(rng) for _ in range(n)]


@pytest.fixture(scope="module")
def played(prepared: Prepared, backend: VerlBackend) -> list[Trajectory]:
    requests = [RolloutRequest(s, i, 100 + i) for i, s in enumerate(scenarios(prepared, 9))]
    return [score(t) for t in backend.rollout(requests, version=0)]


def test_a_rollout_plays_every_request_in_order(prepared: Prepared, played: list[Trajectory]) -> None:
    assert [t.scenario.id for t in played] == [s.id for s in scenarios(prepared, 9)]
    assert [t.reward_seed for t in played] == list(range(9))
    assert all(len(t.turns) == t.scenario.horizon and t.error == "" for t in played)


def test_trained_ids_are_the_sampled_ids(prepared: Prepared, backend: VerlBackend) -> None:
    """What goes to the loss is, id for id, what vLLM was given and gave back, recorded at vLLM's own door."""
    calls: list[tuple[list[int], list[int]]] = []

    class Recorder:
        async def generate(self, **request: Any) -> Any:
            output = await backend._client.generate(**request)
            calls.append((list(request["prompt_ids"]), list(output.token_ids)))
            return output

    tokenizer = AutoTokenizer.from_pretrained(prepared.model_path)
    template = ChatTemplate(tokenizer, {})
    player = ModelPlayer(Recorder(), tokenizer, template, {"temperature": 1.0}, seed=3, limits=(1024, 16))
    scenario = scenarios(prepared, 1)[0]
    env = prepared.env_class(scenario, 5)
    trajectory = asyncio.run(play(env, player, scenario, reward_seed=5, policy_seed=3))

    row = sft_batch(player.samples())
    ids, mask = row["input_ids"].values().tolist(), row["loss_mask"].values().tolist()
    assert len(calls) == scenario.horizon
    expected_mask = [0] * len(ids)
    for prompt, reply in calls:
        assert ids[: len(prompt)] == prompt
        assert ids[len(prompt) : len(prompt) + len(reply)] == reply
        expected_mask[len(prompt) : len(prompt) + len(reply)] = [1] * len(reply)
    assert mask == expected_mask
    assert [tokenizer.decode(reply, skip_special_tokens=True) for _, reply in calls] == [
        turn.text for turn in trajectory.turns
    ]


def test_equal_seeds_give_equal_dialogues(prepared: Prepared, backend: VerlBackend) -> None:
    request = RolloutRequest(scenarios(prepared, 1)[0], reward_seed=1, policy_seed=2)
    first, second = (backend.rollout([request], version=0)[0] for _ in range(2))
    assert first.tokens[0].ids_N.tolist() == second.tokens[0].ids_N.tolist()


def test_the_loss_is_cross_entropy_on_the_sampled_tokens(
    prepared: Prepared, backend: VerlBackend, played: list[Trajectory]
) -> None:
    """verl's first loss against transformers' own logits on the same ids and mask (bfloat16 against float32)."""
    kept = played[:8]
    model = AutoModelForCausalLM.from_pretrained(prepared.model_path, dtype=torch.float32)
    total = count = 0.0
    for trajectory in kept:
        (tokens,) = trajectory.tokens
        ids = torch.from_numpy(tokens.ids_N.copy()).long()[None]
        mask = torch.from_numpy(tokens.mask_N.copy()).bool()
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        total += -logprobs[mask[1:]].sum().item()
        count += mask.sum().item()
    metrics = backend.update(kept, seed=0)
    assert metrics["update/loss_first"] == pytest.approx(total / count, rel=0.02)
    assert metrics["update/samples"] == 8


def test_the_true_sync_passes_and_one_that_does_nothing_stops_the_run(
    backend: VerlBackend, played: list[Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.update(played[:8], seed=1)
    passed = backend.sync(1)
    assert passed["sync/canary"] < passed["sync/moved"]

    backend.update(played[:8], seed=2)
    monkeypatch.setattr(VerlBackend, "_transfer", lambda self, version: None)
    with pytest.raises(StaleSamplerError, match=r"delivered nothing|differ by"):
        backend.sync(2)
    monkeypatch.undo()
    assert backend.sync(2)["sync/canary"] < 0.05


def test_a_saved_model_is_the_trained_one(
    prepared: Prepared, backend: VerlBackend, played: list[Trajectory], tmp_path: Path
) -> None:
    backend.save(tmp_path / "model")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    (tokens,) = played[0].tokens
    ids = torch.from_numpy(tokens.ids_N.copy()).long()[None]
    with torch.no_grad():
        logprobs = saved(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    theirs = logprobs[torch.from_numpy(tokens.mask_N.copy()).bool()[1:]]
    ours = backend._trainer_logprobs(played[0].tokens)[0]
    assert (theirs - ours).abs().mean() < 0.05
