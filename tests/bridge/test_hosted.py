"""RMFT behind an API against the test server with the shipped model: real samples, real fine-tuning, over HTTP."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hosted_server.model import ChatModel, logp_of
from hosted_server.server import Fault, HostedServer, serving

from rmft_verl.bridge.hosted.journal import Journal
from rmft_verl.setup.models import tiny_path
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_kept, read_trajectories

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "recipe=mab_hosted",
    "model.path=hosted:tiny",
    "iterations=2",
    "env.options.horizon=[5]",
    "env.options.arms=[2]",
    "rollout.scenarios=4",
    "rollout.rollouts=4",
    "rollout.reply_tokens=16",
    "selection.keep=3",
    "update.batch=4",
    "update.epochs=2",
    "eval.scenarios=4",
    "eval.every=1",
    "hosted.budget=1",
    "hosted.poll=0.05",
    "name=run",
)
WITHOUT = ("torch", "verl", "ray", "vllm", "transformers", "tensordict")
"""What ``pip install rmft_verl[hosted]`` does not bring."""


@pytest.fixture
def server() -> Iterator[HostedServer]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with serving({"tiny": ChatModel.load(tiny_path("mab"))}) as hosted:
        yield hosted
    torch.set_num_threads(threads)


def start(server: HostedServer, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in which nothing of verl can be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({WITHOUT}))\nfrom rmft_verl.main import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *SMALL, f"hosted.base_url={server.url}", f"root={root}", *arguments]
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)


def test_the_tiny_model_learns_behind_an_api_without_verl_or_torch(server: HostedServer, tmp_path: Path) -> None:
    """With a job whose start is lost, a model that is late, and an endpoint that is busy at times."""
    server.faults = [Fault("POST /v1/fine_tuning/jobs", "lost"), Fault("POST /v1/chat", "429", 3)]
    server.undeployed = 2
    done = start(server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "run"
    assert len(server.trainings) == len(server.jobs) == len(server.files) == 2
    played = [t for n in (1, 2) for t in read_trajectories(run / "trajectories" / f"train_{n:03d}.parquet")]
    assert len(played) == 32 and all(t.player == "model" and not t.tokens and not t.error for t in played)
    assert [t.policy_version for t in played] == [0] * 16 + [1] * 16
    rows = read_metrics(run / "metrics.jsonl")
    assert rows[0]["heldout/invalid_rate"] == pytest.approx(0, abs=0.1)
    assert all(row["kept/normalized_regret"] < row["rollout/normalized_regret"] for row in rows[1:])  # type: ignore[operator]
    assert (run / "report" / "table.txt").is_file() and "trained" in (run / "report" / "table.txt").read_text()


def test_tokens_are_estimated_as_the_server_counts_them(server: HostedServer, tmp_path: Path) -> None:
    assert start(server, tmp_path, "iterations=1").returncode == 0
    entry = Journal(tmp_path / "run" / "hosted").entry(1)
    assert entry is not None and entry.trained and entry.tokens == pytest.approx(entry.trained, rel=0.1)


def test_a_job_makes_what_it_was_given_more_likely(server: HostedServer) -> None:
    """And leaves the model alone that it began with, as replies of weight 0 leave the new one."""
    asked = [{"role": "user", "content": "Choose."}]
    said = {"role": "assistant", "content": "Action: zebra"}
    model = ChatModel.load(tiny_path("mab"))

    def likely(one: ChatModel) -> float:
        ids, mask = one.ids([*asked, said], asked=False)
        row = torch.tensor([ids])
        with torch.no_grad():
            logp = one._model(row).logits[0, :-1].log_softmax(-1).gather(-1, row[0, 1:, None])[:, 0]
        return float((logp * torch.tensor(mask[1:])).sum())

    before = likely(model)
    trained = model.trained([[*asked, said]] * 4, epochs=3, batch=4, rate=1.0, seed=0)
    assert likely(trained) > before + 1 and likely(model) == before
    one = model.ids([*asked, said | {"weight": 0}, *asked, said], asked=False)
    both = model.ids([*asked, said, *asked, said], asked=False)
    assert one[0] == both[0] and len(one[0]) == len(one[1]) and 2 * sum(one[1]) == sum(both[1]) > 0


def test_a_preference_job_makes_the_preferred_reply_more_likely_than_the_other(server: HostedServer) -> None:
    asked = [{"role": "user", "content": "Choose."}]
    pair = tuple([*asked, {"role": "assistant", "content": f"Action: {name}"}] for name in ("zebra", "otter"))
    model = ChatModel.load(tiny_path("mab"))

    def margin(one: ChatModel) -> float:
        with torch.no_grad():
            better, worse = (float(logp_of(one._model, one.ids(said, asked=False))) for said in pair)
        return better - worse

    trained = model.preferring([pair] * 4, epochs=3, batch=4, rate=1.0, seed=0, beta=0.1)  # type: ignore[list-item]
    assert margin(trained) > margin(model) + 1 and 0 < trained.loss < math.log(2)  # log 2: where it begins
    again = model.preferring([pair[::-1]] * 4, epochs=3, batch=4, rate=1.0, seed=0, beta=0.1)  # type: ignore[list-item]
    assert margin(again) < margin(model) - 1


def test_pairs_of_plays_train_behind_an_api(server: HostedServer, tmp_path: Path) -> None:
    more = (
        "update.loss=dpo",
        "rollout.scenarios=8",
        "rollout.rollouts=6",
        "rollout.share_rewards=true",
        "iterations=1",
    )
    done = start(server, tmp_path, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,), row = server.jobs.values(), read_metrics(tmp_path / "run" / "metrics.jsonl")[1]
    pairs = read_kept(tmp_path / "run" / "trajectories" / "train_001.parquet")
    assert job["method"]["type"] == "dpo" and pairs is not None
    assert row["update/samples"] + row["update/dropped"] == len(pairs)  # type: ignore[operator]
    assert 0 < row["update/loss"] < 1  # type: ignore[operator]
    assert row["update/tokens_estimated"] == pytest.approx(job["trained_tokens"], rel=0.1)


def test_a_cached_dialogue_is_answered_as_a_new_one(server: HostedServer) -> None:
    model, fresh = ChatModel.load(tiny_path("mab")), ChatModel.load(tiny_path("mab"))
    told = [{"role": "user", "content": "Choose red or blue."}]
    for question in ("It paid 1.", "It paid 0."):
        text, *_ = model.reply(told, 16, 0.0, 1.0)
        assert fresh.reply(told, 16, 0.0, 1.0)[0] == text
        fresh._caches.clear()
        told = [*told, {"role": "assistant", "content": text}, {"role": "user", "content": question}]
    assert len(json.dumps(told)) > 100


def test_the_hosted_package_imports_nothing_heavy() -> None:
    """``tests/test_architecture.py`` lets the rest of ``bridge`` do so."""
    files = sorted((ROOT / "rmft_verl" / "bridge" / "hosted").glob("*.py"))
    names = [f"rmft_verl.bridge.hosted.{file.stem}" for file in files if file.stem != "__init__"]
    absent = (*WITHOUT, "openai", "pyarrow", "matplotlib", "wandb")
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += f"print([name for name in {absent} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert len(names) == 6 and found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"
