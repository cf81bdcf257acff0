"""One model, two ways: vLLM's own OpenAI-compatible server and verl's backend, on the same scenarios."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rmft_verl.bridge.cluster import runtime
from rmft_verl.bridge.precision import cpu_dtype
from rmft_verl.config import HardwareConfig
from rmft_verl.eval import metrics
from rmft_verl.setup.models import resolve_model
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Trajectory

pytestmark = pytest.mark.e2e

CONFIG = load_config(["recipe=mab_tiny"])
SCENARIOS, EPISODES = 100, 3
START_SECONDS = 300


@contextmanager
def vllm_server(log: Path) -> Iterator[str]:
    """The address of a server of the shipped model, up and answering; what it prints goes to ``log``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "--model": resolve_model(CONFIG.model.path),
        "--served-model-name": "tiny",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": cpu_dtype(),
        "--max-model-len": str(CONFIG.model.context),
        "--max-num-seqs": "64",
        "--kv-cache-memory-bytes": str(1 << 28),
        "--generation-config": "vllm",  # no sampling defaults from the model's directory
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [part for option in options.items() for part in option]
    environment = os.environ | runtime.prepare(runtime.device(HardwareConfig()))
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            direct.open(address, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    pytest.fail(f"vLLM's server did not come up:\n{log.read_text()[-3000:]}")


def evaluate(out: Path, *arguments: str) -> None:
    options = [f"{key}={json.dumps(value)}" for key, value in CONFIG.env.options.items()]
    command = [sys.executable, "-m", "rmft_verl.main.cli", "eval", "mab", "--out", str(out)]
    command += ["--scenarios", str(SCENARIOS), "--episodes", str(EPISODES)]
    command += ["--option", *options, *arguments]
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def through_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endpoint")
    asked = ["--max-tokens", str(CONFIG.rollout.reply_tokens), "--temperature", str(CONFIG.eval.temperature)]
    with vllm_server(folder / "server.log") as url:
        evaluate(folder / "out", "--players", "api:tiny", "uniform", "--base-url", url, "--concurrency", "32", *asked)
    return folder / "out"


@pytest.fixture(scope="module")
def through_backend(tmp_path_factory: pytest.TempPathFactory, through_endpoint: Path) -> Path:
    """After the endpoint's server has gone: both would share the cores."""
    out = tmp_path_factory.mktemp("backend") / "out"
    evaluate(out, "--players", "model", "uniform", "--recipe", "mab_tiny")
    return out


def played(out: Path, player: str) -> list[Trajectory]:
    return read_trajectories(out / "trajectories" / f"mab--{player}.parquet")


def test_the_endpoint_and_the_backend_agree(through_endpoint: Path, through_backend: Path) -> None:
    """Their samples are independent, so on the same scenarios and draws their regrets differ by chance alone."""
    endpoint, backend = played(through_endpoint, "api_tiny"), played(through_backend, "model")
    met = [[(t.scenario.id, t.reward_seed, t.policy_seed) for t in plays] for plays in (endpoint, backend)]
    assert met[0] == met[1] and len(met[0]) == SCENARIOS * EPISODES
    assert [t.error for t in endpoint if t.error] == [t.error for t in backend if t.error] == []
    assert metrics.invalid_rate(endpoint) < 0.05 and metrics.invalid_rate(backend) < 0.05
    one, other = (np.array([t.regret for t in plays], dtype=float) for plays in (endpoint, backend))
    apart = (one - other).reshape(SCENARIOS, EPISODES).mean(axis=1)  # a scenario's episodes stand together
    by_chance = apart.std(ddof=1) / np.sqrt(SCENARIOS)
    assert abs(apart.mean()) < 4 * by_chance < 1.5, f"{apart.mean():.2f} apart, by chance {by_chance:.2f}"


def test_first_messages_are_the_same_words(through_endpoint: Path, through_backend: Path) -> None:
    pairs = zip(played(through_endpoint, "api_tiny"), played(through_backend, "model"), strict=True)
    assert all(one.turns[0].messages == other.turns[0].messages for one, other in pairs)


def test_the_model_is_played_with_its_tokens_on_file(through_backend: Path) -> None:
    assert all(t.tokens and t.policy_version == 0 for t in played(through_backend, "model"))


def test_the_classical_player_is_the_same_beside_both(through_endpoint: Path, through_backend: Path) -> None:
    paths = [out / "trajectories" / "mab--uniform.parquet" for out in (through_endpoint, through_backend)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_endpoint_counted_its_tokens(through_endpoint: Path) -> None:
    used = json.loads((through_endpoint / "usage.json").read_text())["api:tiny"]
    rounds = sum(len(t.turns) for t in played(through_endpoint, "api_tiny"))
    assert used["requests"] == rounds and used["prompt_tokens"] > used["reply_tokens"] >= rounds
