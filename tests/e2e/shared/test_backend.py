"""The real backend, verl and vLLM with the shipped model: exact tokens, the canary, every update, an exported model."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl.algo import METHODS
from rmft_verl.algo.credit import reward
from rmft_verl.algo.method import Samples
from rmft_verl.bridge.backend import StaleSamplerError
from rmft_verl.bridge.cluster.cpu_sampler import draw
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.player import ModelPlayer
from rmft_verl.bridge.training.action_line import action_only
from rmft_verl.bridge.training.batches import plain_batch
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.config import UpdateConfig
from rmft_verl.env.play import play
from rmft_verl.env.regret import score
from rmft_verl.setup.prepare import Prepared
from rmft_verl.types import Batch, RolloutRequest, Scenario, Scored, Tokens, Trajectory

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def prepared(shared: tuple[Prepared, VerlBackend]) -> Prepared:
    return shared[0]


@pytest.fixture(scope="module")
def backend(shared: tuple[Prepared, VerlBackend]) -> VerlBackend:
    return shared[1]


def all_of(plays: Sequence[Trajectory]) -> Batch:
    return Batch(plays, range(len(plays)))


@contextmanager
def updating(backend: VerlBackend, **changes: Any) -> Iterator[UpdateConfig]:
    """The backend with another ``update`` configuration."""
    before = backend._config.update
    backend._config.update = dataclasses.replace(before, **changes)
    yield backend._config.update
    backend._config.update = before


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
            output = await backend._each[0].generate(**request)
            calls.append((list(request["prompt_ids"]), list(output.token_ids)))
            return output

    tokenizer = AutoTokenizer.from_pretrained(prepared.model_path)
    template = ChatTemplate(tokenizer, {})
    player = ModelPlayer(Recorder(), tokenizer, template, {"temperature": 1.0}, seed=3, limits=(1024, 16))
    scenario = scenarios(prepared, 1)[0]
    env = prepared.env_class(scenario, 5)
    trajectory = asyncio.run(play(env, player, scenario, reward_seed=5, policy_seed=3))

    row = plain_batch(player.samples(), 1.0)
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


def test_a_token_takes_one_number_of_its_seed(prepared: Prepared, backend: VerlBackend) -> None:
    """The engine draws as ``draw`` does, up to rounding; vLLM's own way agrees with it by chance only."""
    tokenizer = AutoTokenizer.from_pretrained(prepared.model_path)
    env = prepared.env_class(scenarios(prepared, 1)[0], 5)
    asked = ChatTemplate(tokenizer, {}).opening(env.reset().messages)

    async def sampled() -> list[int]:
        params = [{"temperature": 1.0, "max_tokens": 1, "seed": seed} for seed in range(64)]
        ask = backend._each[0].generate
        outputs = await asyncio.gather(*[ask("seeds", prompt_ids=asked, sampling_params=p) for p in params])
        return [output.token_ids[0] for output in outputs]

    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(prepared.model_path, dtype=torch.float32)
        logits = model(torch.tensor([asked])).logits[0, -1]
    expected = draw(logits.expand(64, -1), {seed: torch.Generator().manual_seed(seed) for seed in range(64)}).tolist()
    same = np.mean(np.array(asyncio.run(sampled())) == expected)
    assert same > 0.9 and len(set(expected)) > 3


def base_logprobs(prepared: Prepared, samples: Sequence[Tokens]) -> list[torch.Tensor]:
    """The base's log-probabilities of the tokens of each sample's mask, by transformers in float32."""
    model = AutoModelForCausalLM.from_pretrained(prepared.model_path, dtype=torch.float32)
    rows = []
    for tokens in samples:
        ids = torch.from_numpy(tokens.ids_N.copy()).long()[None]
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        rows.append(logprobs[torch.from_numpy(tokens.mask_N.copy()).bool()[1:]])
    return rows


def test_the_loss_is_cross_entropy_on_the_sampled_tokens(
    prepared: Prepared, backend: VerlBackend, played: list[Trajectory]
) -> None:
    """verl's first loss against transformers' own logits on the same ids and mask (bfloat16 against float32)."""
    kept = played[:8]
    rows = base_logprobs(prepared, [tokens for trajectory in kept for tokens in trajectory.tokens])
    metrics = backend.update(all_of(kept), seed=0)
    assert metrics["update/loss_first"] == pytest.approx(-torch.cat(rows).mean().item(), rel=0.02)
    assert metrics["update/samples"] == 8


def test_the_true_sync_passes_and_one_that_does_nothing_stops_the_run(
    backend: VerlBackend, played: list[Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.update(all_of(played[:8]), seed=1)
    passed = backend.sync(1)
    assert passed["sync/canary"] < passed["sync/moved"]
    assert passed["sync/weights"] == 1
    assert passed["sync/slope"] == pytest.approx(1, abs=4 * passed["sync/slope_error"] + 0.05)

    backend.update(all_of(played[:8]), seed=2)
    monkeypatch.setattr(VerlBackend, "_transfer", lambda self, version: None)
    with pytest.raises(StaleSamplerError, match="same weights as before the update"):
        backend.sync(2)
    with pytest.raises(StaleSamplerError, match=r"weights before the update|differ by"):
        backend._prove(2)
    with pytest.raises(StaleSamplerError, match=r"replicas \[0\] of 1 do not hold"):
        backend._receipt.check((1, 2), 2, updated=True)
    monkeypatch.undo()
    assert backend.sync(2)["sync/canary"] < 0.05


def test_a_prefix_cache_that_outlives_a_sync_stops_the_run(
    backend: VerlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary has asked for the dialogue of the probe since the sync, as a rollout would have."""
    monkeypatch.setattr(VerlBackend, "_transfer", lambda self, version: None)
    with pytest.raises(StaleSamplerError, match="prefix cache still has"):
        backend.sync(2)
    monkeypatch.undo()
    backend.sync(2)


def test_sft_on_the_action_from_the_base(prepared: Prepared, backend: VerlBackend, played: list[Trajectory]) -> None:
    """After the updates above the trainer is not the base: its loss is, and the same update gives the same model."""
    samples = [tokens for trajectory in played[:8] for tokens in trajectory.tokens]
    parse = prepared.env_class(played[0].scenario, 0).parse
    rows = base_logprobs(prepared, [action_only(tokens, backend._template, parse) for tokens in samples])
    expected = -torch.stack([row.mean() for row in rows]).mean().item()
    with updating(backend, start="base", train_on="action", weighting="trajectory"):
        first = backend.update(all_of(played[:8]), seed=3)
    passed = backend.sync(3)
    once = backend._trainer_logprobs(samples)
    assert first["update/loss_first"] == pytest.approx(expected, rel=0.02)
    assert passed["sync/canary"] < passed["sync/moved"]

    backend.update(all_of(played[:8]), seed=4)
    backend.sync(4)
    between = backend._trainer_logprobs(samples)
    with updating(backend, start="base", train_on="action", weighting="trajectory"):
        second = backend.update(all_of(played[:8]), seed=3)
    passed = backend.sync(5)
    again = backend._trainer_logprobs(samples)
    assert second == first
    torch.testing.assert_close(torch.cat(again), torch.cat(once))
    assert (torch.cat(between) - torch.cat(once)).abs().mean() > 0.01
    assert passed["sync/canary"] < passed["sync/moved"]  # moved from the model that played, not from the base


def test_dpo_raises_the_margin_of_its_pairs(backend: VerlBackend, played: list[Trajectory]) -> None:
    samples = [tokens for trajectory in played[:8] for tokens in trajectory.tokens]

    def margin() -> float:
        sums = [row.sum().item() for row in backend._trainer_logprobs(samples)]
        return float(np.mean(np.subtract(sums[0::2], sums[1::2])))

    before = margin()
    with updating(backend, loss="dpo", beta=0.1, sft_term=0.1, epochs=3):
        metrics = backend.update(Batch(played[:8], range(0, 8, 2)), seed=0)
    passed = backend.sync(6)
    assert all(np.isfinite(value) for value in metrics.values())
    assert (metrics["update/samples"], metrics["update/steps"]) == (8, 3)
    assert metrics["update/dpo_margin"] > 0 and metrics["update/dpo_accuracy"] > 0.5
    assert margin() > before + 1
    assert passed["sync/canary"] < passed["sync/moved"]


def test_grpo_raises_what_is_credited(prepared: Prepared, backend: VerlBackend) -> None:
    """From the base: after the updates above the model may be sure of every word, and nothing could be raised."""
    backend._actor.load_checkpoint(str(backend._base))
    backend._probe, backend._before = [], None
    backend.sync(6)
    requests = [RolloutRequest(s, i, 7 * i + j) for i, s in enumerate(scenarios(prepared, 2)) for j in range(4)]
    plays = backend.rollout(requests, version=6)
    batch = Batch(plays, range(8), [reward(Scored(play, 0.0, 0)) for play in plays])
    samples = [play.tokens[0] for play in plays]
    before = backend._trainer_logprobs(samples)
    with updating(backend, loss="grpo", epochs=3):
        metrics = backend.update(batch, seed=0)
        advantages = METHODS["grpo"].columns(Samples.of(batch), backend._config, backend._verl)["advantages"]
    after = backend._trainer_logprobs(samples)
    passed = backend.sync(7)
    assert all(np.isfinite(value) for value in metrics.values())
    assert (metrics["update/samples"], metrics["update/steps"]) == (8, 3)
    assert 0 <= metrics["update/clip_fraction"] < 0.5 and abs(metrics["update/kl"]) < 0.5
    assert 0.3 < metrics["update/advantage_abs"] < 1.5
    of_sampled = np.concatenate([row[t.mask_N == 1] for row, t in zip(advantages, samples, strict=True)])
    assert (of_sampled * (torch.cat(after) - torch.cat(before)).numpy()).mean() > 0
    assert passed["sync/canary"] < passed["sync/moved"]


def test_words_are_rendered_as_the_model_reads_them(backend: VerlBackend, played: list[Trajectory]) -> None:
    """Rendering a sampled play again gives the same text, whatever its tokens were."""
    sampled = next(trajectory for trajectory in played if trajectory.valid)
    (rendered,) = backend.render([dataclasses.replace(sampled, tokens=())])
    texts = [backend._template.text(trajectory.tokens[0].ids_N) for trajectory in (rendered, sampled)]
    assert texts[0] == texts[1]


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
