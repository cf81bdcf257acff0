"""Whole runs on a hosted model: real commands, files and requests; the server's model is a coin that learns.

``tests/bridge/test_hosted.py`` has the same server with a real model.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_backend import KilledError
from fake_machine import plain_report
from hosted_server.published import openai_faults, together_faults
from hosted_server.server import Fault, HostedServer, serving

import rmft_verl.train.run
from rmft_verl.bridge.hosted.jobs import Jobs
from rmft_verl.bridge.hosted.journal import Entry, Journal
from rmft_verl.bridge.hosted.settings import PROVIDERS, Hosted
from rmft_verl.config import Config
from rmft_verl.eval.compare.arms import Arm
from rmft_verl.eval.compare.results import read
from rmft_verl.eval.compare.runs import Planned
from rmft_verl.main.cli import main
from rmft_verl.players import api
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.tracking import read_metrics
from rmft_verl.store.trajectory_file import read_kept
from rmft_verl.types import RunError

KEY = "sk-very-secret-0123456789"
SMALL = (
    "model.path=hosted:coin",
    "env.name=toy_bandit:ToyBandit",
    "iterations=2",
    "rollout.scenarios=4",
    "rollout.rollouts=4",
    "selection.keep=3",
    "update.batch=4",
    "update.epochs=2",
    "eval.scenarios=3",
    "hardware.max_num_seqs=4",
    "hosted.budget=5",
    "hosted.price_in=1",
    "hosted.price_out=2",
    "hosted.price_train=10",
    "hosted.poll=0.005",
    "name=run",
)


class Coin:
    """Names arm 1 with some odds, by the dialogue alone, so that a repeated request has the same answer."""

    def __init__(self, odds: float = 0.5) -> None:
        self.odds = self.loss = odds

    def ids(self, messages: Any, asked: bool) -> tuple[list[int], list[int]]:
        n = sum(len(message["content"]) // 4 + 5 for message in messages) + 3 * asked
        return [0] * n, [0] * n

    def reply(self, messages: Any, cap: int, temperature: float, top_p: float) -> tuple[str, int, int, bool]:
        seed = int(hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:8], 16)
        arm = int(np.random.default_rng(seed).random() < self.odds)
        return str(arm), len(self.ids(messages, True)[0]), 1, False

    def trained(self, examples: Any, epochs: int, batch: int, rate: float, seed: int) -> Coin:
        said = [message["content"] for messages in examples for message in messages if message.get("weight") == 1]
        return Coin(0.5 * self.odds + 0.5 * float(np.mean([text == "1" for text in said])))

    def preferring(self, pairs: Any, epochs: int, batch: int, rate: float, seed: int, beta: float) -> Coin:
        said = [better[-1]["content"] for better, _ in pairs]
        return Coin(0.5 * self.odds + 0.5 * float(np.mean([text == "1" for text in said])))


class Mood(Coin):
    """A coin that may answer the same dialogue in another way."""

    def __init__(self, odds: float = 0.5) -> None:
        super().__init__(odds)
        self._rng = np.random.default_rng(0)

    def reply(self, messages: Any, cap: int, temperature: float, top_p: float) -> tuple[str, int, int, bool]:
        return str(int(self._rng.random() < self.odds)), len(self.ids(messages, True)[0]), 1, False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(api, "RETRIES", 3)
    monkeypatch.setattr(api, "FIRST_WAIT", 0.002)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.002)
    monkeypatch.setattr(rmft_verl.train.run, "write_report", plain_report)
    monkeypatch.setattr(rmft_verl.train.run, "references", lambda *_: ())


@pytest.fixture
def server() -> Iterator[HostedServer]:
    with serving({"coin": Coin()}) as hosted:
        yield hosted


def start(server: HostedServer, root: Path, *arguments: str) -> Path:
    return rmft_verl.train.run.run(load_config([*SMALL, f"hosted.base_url={server.url}", f"root={root}", *arguments]))


def facts(run: Path) -> dict[str, Any]:
    """What a run found: not its times, the random names of its models, nor what a repeated request has cost."""
    rows = read_metrics(run / "metrics.jsonl")
    other = ("time/", "update/spent", "rollout/tokens_per_second", "update/tokens_estimated")
    return {
        "rows": [repr({k: v for k, v in row.items() if not k.startswith(other)}) for row in rows],
        "plays": {path.name: path.read_bytes() for path in sorted((run / "trajectories").iterdir())},
        "files": {path.name: path.read_bytes() for path in sorted((run / "hosted").glob("*.jsonl"))},
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch, serving({"coin": Coin()}) as hosted:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(rmft_verl.train.run, "write_report", plain_report)
        patch.setattr(rmft_verl.train.run, "references", lambda *_: ())
        found = facts(start(hosted, tmp_path_factory.mktemp("whole")))
        assert len(hosted.jobs) == len(hosted.files) == len(hosted.trainings) == 2
    return found


def once(server: HostedServer) -> bool:
    """Whether every update was trained and uploaded once."""
    return len(server.trainings) == len(set(server.trainings)) == len(server.files) == 2


# ---- a run without trouble ------------------------------------------------------------------------------------------


def test_a_run_learns_and_its_job_gets_what_was_kept(server: HostedServer, tmp_path: Path) -> None:
    run = start(server, tmp_path)
    first, second = server.jobs.values()
    assert first["model"] == "coin" and second["model"] == first["fine_tuned_model"]
    assert first["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2, "batch_size": 4}
    rows = read_metrics(run / "metrics.jsonl")
    kept, played = rows[1]["kept/normalized_regret"], rows[1]["rollout/normalized_regret"]
    assert kept is not None and played is not None and kept < played
    assert server.models[second["fine_tuned_model"]].odds != 0.5  # type: ignore[attr-defined]
    final = json.loads((run / "checkpoints" / "final" / "hosted.json").read_text())
    assert final["model"] == second["fine_tuned_model"] and final["updates"] == 2
    assert main(["export", str(run), "--format", "chat-jsonl", "--iteration", "1"]) == 0
    exported, uploaded = run / "export" / "chat-jsonl.jsonl", run / "hosted" / "update_001.jsonl"
    assert sorted(exported.read_text().splitlines()) == sorted(uploaded.read_text().splitlines())


def test_what_is_paid_is_counted_and_estimated_before(server: HostedServer, tmp_path: Path) -> None:
    run = start(server, tmp_path)
    for n, job in enumerate(server.jobs.values(), start=1):
        entry = Journal(run / "hosted").entry(n)
        assert entry is not None and entry.trained == job["trained_tokens"]
        assert entry.tokens == pytest.approx(entry.trained, rel=0.1)
    journal, prices = Journal(run / "hosted"), load_config([*SMALL, f"hosted.base_url={server.url}"]).hosted
    (prompt, reply), entries = np.sum(server.said, axis=0), journal.entries()
    assert (journal.tally.requests, journal.tally.prompt, journal.tally.reply) == (len(server.said), prompt, reply)
    trained = sum(job["trained_tokens"] for job in server.jobs.values())
    paid = (prompt + 2 * reply + 10 * trained) / 1e6
    assert journal.spent(Hosted.of(prices)) == pytest.approx(paid)
    estimated = (prompt + 2 * reply + 10 * sum(entry.tokens for entry in entries)) / 1e6
    assert estimated == pytest.approx(paid, rel=0.1)


def test_no_secret_and_no_name_leaves_the_machine_or_lies_in_the_run(server: HostedServer, tmp_path: Path) -> None:
    run = start(server, tmp_path)
    assert not any(KEY.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert all(set(file["filename"]) <= set("rmft-.jsonl0123456789abcdef") for file in server.files.values())


def test_a_run_says_what_its_jobs_and_its_rollouts_were(server: HostedServer, tmp_path: Path) -> None:
    """The job's loss, and the replies' tokens, which a comparison adds up; a reply of the coin is one token."""
    rows = read_metrics(start(server, tmp_path) / "metrics.jsonl")
    made = [server.models[job["fine_tuned_model"]] for job in server.jobs.values()]
    assert [row["update/loss"] for row in rows[1:]] == [model.loss for model in made]
    assert [row["rollout/tokens"] for row in rows[1:]] == [48, 48]  # 16 plays of three rounds
    done = Planned(Arm("hosted"), 0, tmp_path / "run", Config())
    assert read(done).tokens_sampled == 96
    assert read(done).tokens_trained == sum(job["trained_tokens"] for job in server.jobs.values())


def test_a_provider_that_reports_no_loss_has_none(
    server: HostedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostedServer, "_checkpoints", lambda self, job: {})
    assert "update/loss" not in read_metrics(start(server, tmp_path) / "metrics.jsonl")[1]


PAIRS = ("update.loss=dpo", "update.beta=0.3", "rollout.scenarios=8", "selection.keep=2", "rollout.share_rewards=true")


def test_pairs_train_by_the_preference_format(server: HostedServer, tmp_path: Path) -> None:
    server.models["coin"] = Mood()
    run = start(server, tmp_path, *PAIRS, "iterations=1", "rollout.rollouts=6")
    (job,) = server.jobs.values()
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 2, "beta": 0.3}}}
    (content,) = server.contents.values()
    assert not openai_faults(content, preference=True) and not together_faults(content, preference=True)
    row, pairs = read_metrics(run / "metrics.jsonl")[1], content.count(b"\n")
    paired = len(read_kept(run / "trajectories" / "train_001.parquet") or ())
    assert (row["update/samples"], row["update/dropped"]) == (pairs, paired - pairs) and pairs >= 10
    assert row["update/tokens"] == job["trained_tokens"] == pytest.approx(row["update/tokens_estimated"], rel=0.1)


def test_pairs_without_a_common_prompt_are_too_few_and_nothing_is_paid(server: HostedServer, tmp_path: Path) -> None:
    """A coin that says the same to the same dialogue parts from itself only after its rewards have."""
    with pytest.raises(RunError, match="0 examples are left to train on, and a server of your own takes 10"):
        start(server, tmp_path, *PAIRS[:-1], "iterations=1")
    assert not server.files


def test_a_file_begins_with_a_mark_where_the_provider_wants_one(
    server: HostedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROVIDERS, "127.0.0.1", dataclasses.replace(PROVIDERS["openai.azure.com"], key_env="KEY"))
    monkeypatch.setenv("KEY", KEY)
    run = start(server, tmp_path, "iterations=1")
    (content,) = server.contents.values()
    assert content == codecs.BOM_UTF8 + (run / "hosted" / "update_001.jsonl").read_bytes()
    assert not openai_faults(content)


def test_what_is_uploaded_and_exported_keeps_the_published_rules(server: HostedServer, tmp_path: Path) -> None:
    server.models["coin"] = Mood()
    run = start(server, tmp_path, "rollout.share_rewards=true")
    for form in ("chat-jsonl", "preference-jsonl"):
        assert main(["export", str(run), "--format", form]) == 0
    exported = {form: (run / "export" / f"{form}.jsonl").read_bytes() for form in ("chat-jsonl", "preference-jsonl")}
    for content in (*server.contents.values(), exported["chat-jsonl"]):
        assert not openai_faults(content) and not together_faults(content)
    pairs = exported["preference-jsonl"]
    assert not [fault for fault in openai_faults(pairs, preference=True) if "are needed" not in fault]
    assert not together_faults(pairs, preference=True) and pairs.count(b"\n") > 1


# ---- faults: what happened, nothing trained or uploaded twice, the same results --------------------------------

PASSING = [
    ("POST /v1/files", "429"),
    ("POST /v1/files", "500"),
    ("POST /v1/files", "lost"),
    ("GET /v1/files", "500"),
    ("POST /v1/fine_tuning/jobs", "429"),
    ("POST /v1/fine_tuning/jobs", "500"),
    ("POST /v1/fine_tuning/jobs", "lost"),
    ("GET /v1/fine_tuning/jobs", "429"),
    ("GET /v1/fine_tuning/jobs/ftjob", "500"),
    ("GET /v1/fine_tuning/jobs/ftjob", "lost"),
    ("POST /v1/chat", "429"),
    ("POST /v1/chat", "500"),
    ("POST /v1/chat", "lost"),
]


@pytest.mark.parametrize(("at", "kind"), PASSING, ids=lambda value: value)
def test_trouble_that_passes_changes_nothing(
    at: str, kind: str, server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    server.faults = [Fault(at, kind, times=2)]
    assert facts(start(server, tmp_path)) == undisturbed
    assert server.faults[0].times == 0 and once(server) and len(server.jobs) == 2


def test_a_model_that_is_not_deployed_yet_is_waited_for(
    server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    server.undeployed = 3
    assert facts(start(server, tmp_path)) == undisturbed and once(server)


def test_a_job_that_fails_validation_stops_the_run_and_the_next_start_asks_for_a_new_one(
    server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    server.invalid = 1
    with pytest.raises(RunError, match=r"job ftjob-\w+ of update 1 is failed \(The file has an invalid example\)"):
        start(server, tmp_path)
    assert not server.trainings
    assert facts(start(server, tmp_path)) == undisturbed
    assert len(server.jobs) == 3 and len(server.trainings) == 2
    assert (tmp_path / "run" / "hosted" / "update_001.failed_1.json").is_file()


def test_a_job_that_never_ends_is_left_running_and_found_again(
    server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    server.endless = True
    with pytest.raises(RunError, match=r"is running after hosted.patience=0.05 s: .* rmft-verl cancel RUN"):
        start(server, tmp_path, "hosted.patience=0.05")
    server.endless = False
    assert facts(start(server, tmp_path)) == undisturbed and once(server) and len(server.jobs) == 2


def test_a_job_is_cancelled_on_request(
    server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server.endless = True
    with pytest.raises(RunError):
        start(server, tmp_path, "hosted.patience=0.05")
    capsys.readouterr()
    assert main(["cancel", str(tmp_path / "run")]) == 0
    assert "of update 1: cancelled" in capsys.readouterr().out
    with pytest.raises(RunError, match="is cancelled"):
        start(server, tmp_path)
    server.endless = False
    assert facts(start(server, tmp_path)) == undisturbed and len(server.trainings) == 2
    assert main(["cancel", str(tmp_path / "run")]) == 0
    assert "waits for no job" in capsys.readouterr().out


@pytest.mark.parametrize("kill", range(9))
def test_a_run_that_is_killed_between_two_steps_pays_for_none_twice(
    kill: int, server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the k-th line of the journal is on file: what it would have said has already happened."""
    write, ticks = Journal.write, iter(range(10**6))

    def mortal(self: Journal, entry: Entry) -> Entry:
        if next(ticks) == kill:
            raise KilledError("killed")
        return write(self, entry)

    monkeypatch.setattr(Journal, "write", mortal)
    with contextlib.suppress(KilledError):
        start(server, tmp_path)
    assert facts(start(server, tmp_path)) == undisturbed
    assert once(server) and len(server.jobs) == 2


def test_an_endpoint_that_goes_away_costs_the_episodes_in_progress_only(
    server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    start_of = sum(at.startswith("POST /v1/chat") for at in server.requests)
    server.faults = [Fault("POST /v1/chat", "401", times=0)]
    answer = server.say
    said: list[str] = []

    def say(asked: Any) -> Any:
        said.append("")
        return answer(asked) if len(said) < 30 else (401, {"error": {"message": "who are you"}})

    server.say = say  # type: ignore[method-assign]
    with pytest.raises(RunError, match="who are you"):
        start(server, tmp_path)
    server.say = answer  # type: ignore[method-assign]
    assert facts(start(server, tmp_path)) == undisturbed
    asked = sum(at.startswith("POST /v1/chat") for at in server.requests) - start_of
    whole = 3 * 9 + 2 * 48 + 3  # three evaluations, two rollouts, a question to each model
    assert whole < asked <= whole + 4 * 3 + 4 + 1


# ---- money ---------------------------------------------------------------------------------------------------------


def test_the_ceiling_is_checked_before_the_upload_and_may_be_raised(
    server: HostedServer, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    with pytest.raises(RunError, match=r"hosted.budget=0.005: \$0.00 are spent and the next job costs about \$0.0\d"):
        start(server, tmp_path, "hosted.budget=0.005")
    assert not server.files and not server.jobs
    assert facts(start(server, tmp_path)) == undisturbed and once(server)


def test_no_episode_begins_when_the_money_is_spent(server: HostedServer, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="finished episodes are on file"):
        start(server, tmp_path, "hosted.budget=0.0001")
    assert sum(at.startswith("POST /v1/chat") for at in server.requests) < 12


def test_another_update_under_the_same_number_is_not_mixed_up(server: HostedServer, tmp_path: Path) -> None:
    server.endless = True
    with pytest.raises(RunError):
        start(server, tmp_path, "hosted.patience=0.05")
    (tmp_path / "run" / "trajectories" / "train_001.parquet").unlink()
    for episodes in (tmp_path / "run" / "hosted").glob("episodes_*"):
        shutil.rmtree(episodes)
    server.models["coin"] = Coin(0.9)
    with pytest.raises(RunError, match="is the job of other dialogues"):
        start(server, tmp_path, "hosted.patience=0.05")
    assert len(server.jobs) == 1


def test_an_answer_of_the_model_before_is_noticed(server: HostedServer, tmp_path: Path) -> None:
    answer = server.say

    def say(asked: Any) -> Any:
        status, told = answer(asked)
        return status, told | {"model": "coin"}

    server.say = say  # type: ignore[method-assign]
    with pytest.raises(RunError, match="the model before the update, has answered"):
        start(server, tmp_path)


def test_errors_hold_no_key(server: HostedServer) -> None:
    given = {"base_url": server.url, "budget": 0, "price_in": 0, "price_out": 0}
    jobs = Jobs(Hosted.of(given | {"price_train": 0}))
    server.start = lambda asked: (_ for _ in ()).throw(AssertionError)  # type: ignore[method-assign]
    server.faults = [Fault("POST /v1/fine_tuning/jobs", "403", times=9)]
    with pytest.raises(RunError, match="status 403") as told:
        jobs.start("coin", "file-1", {}, 1)
    assert KEY not in str(told.value)
    jobs.close()
