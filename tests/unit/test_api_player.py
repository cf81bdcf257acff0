from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Answer, failed, said, serving
from toy_bandit import ToyBandit, toy_scenario

from rmft_verl.eval import command as evaluation
from rmft_verl.eval.algorithms import play_request
from rmft_verl.main.cli import main
from rmft_verl.players import api
from rmft_verl.players.api import ApiPlayer, ApiSettings, Endpoint, Usage
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import RolloutRequest, RunError, StopReason, Trajectory

KEY = "sk-very-secret-0123456789"
REQUEST = RolloutRequest(toy_scenario([0.1, 0.9], 3), reward_seed=1, policy_seed=2)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(api, "RETRIES", 2)
    monkeypatch.setattr(api, "FIRST_WAIT", 0.001)
    for draw in ("draw_regret_curves", "draw_scenarios", "draw_choices"):
        monkeypatch.setattr(evaluation, draw, lambda sets, path: None)


def play(url: str, **settings: Any) -> tuple[Trajectory, Usage]:
    async def once() -> tuple[Trajectory, Usage]:
        endpoint = Endpoint(ApiSettings("tiny", url, **settings))
        try:
            return await play_request(ToyBandit, ApiPlayer(endpoint, "tiny"), REQUEST), endpoint.usage
        finally:
            await endpoint.close()

    return asyncio.run(once())


# ---- one episode ----------------------------------------------------------------------------------------------------


def test_every_request_holds_the_whole_dialogue_so_far() -> None:
    with serving(lambda n, body: said(str(n % 2))) as fake:
        played, usage = play(fake.url, temperature=0.5, max_tokens=9)
    assert played.valid and played.player == "api:tiny" and played.actions_T == (0, 1, 0)
    told = [turn.messages[0].content for turn in played.turns]
    assert [m["content"] for m in fake.bodies[2]["messages"]] == [told[0], "0", told[1], "1", told[2]]
    assert [m["role"] for m in fake.bodies[2]["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert [len(body["messages"]) for body in fake.bodies] == [1, 3, 5]
    sent = {key: value for key, value in fake.bodies[0].items() if key != "messages"}
    assert sent == {"model": "tiny", "max_tokens": 9, "temperature": 0.5}
    assert fake.keys == [f"Bearer {KEY}"] * 3
    assert usage == Usage(requests=3, prompt_tokens=21, reply_tokens=6)
    assert usage.dollars(2.0, 10.0) == pytest.approx((21 * 2 + 6 * 10) / 1e6)


def test_a_temperature_that_was_not_given_is_not_sent() -> None:
    with serving(lambda n, body: said("0")) as fake:
        play(fake.url)
    assert "temperature" not in fake.bodies[0]


def test_a_reply_at_its_cap_is_cut_and_an_empty_one_is_unparsable() -> None:
    with serving(lambda n, body: [said("1", "length"), said(None), said("1")][n]) as fake:
        played, _ = play(fake.url)
    assert [(turn.parsed, turn.cut) for turn in played.turns] == [(True, True), (False, False), (True, False)]
    assert played.stop_reason is StopReason.COMPLETED and not played.valid


@pytest.mark.parametrize(
    "trouble",
    [
        failed(429),
        failed(500),
        failed(503),
        Answer(body=b"<html>busy</html>", headers={"content-type": "text/html"}),
        Answer(body=b'{"choices": [{"mess'),
        Answer(body=b'{"error": {"message": "upstream"}}'),
        Answer(body=b'{"choices": []}'),
        Answer(body=b"[1]"),
        Answer(body=b'{"choices": [{"message": {"content": ["0"]}}]}'),
        Answer(body=b"\xff\xfe"),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:24]!r}",
)
def test_trouble_that_passes_costs_a_request_and_nothing_else(trouble: Answer) -> None:
    with serving(lambda n, body: trouble if n == 1 else said("1")) as fake:
        played, usage = play(fake.url)
    assert played.valid and played.actions_T == (1, 1, 1)
    assert len(fake.bodies) == 4 and usage.requests == 3
    assert fake.bodies[1] == fake.bodies[2]


@pytest.mark.parametrize(
    ("trouble", "said_so"),
    [
        (failed(500, "out of cheese"), "status 500.*out of cheese"),
        (failed(429, "slow down"), "status 429.*slow down"),
        (Answer(body=b"garbage"), "3 answers were no chat completion, the last: 'garbage'"),
    ],
)
def test_trouble_that_stays_ends_the_episode_with_its_message(trouble: Answer, said_so: str) -> None:
    with serving(lambda n, body: said("1") if n == 0 else trouble) as fake:
        played, _ = play(fake.url)
    assert len(fake.bodies) == 1 + 3  # one good round, then the request and two repetitions
    assert played.stop_reason is StopReason.ERROR and len(played.turns) == 1 and played.regret is None
    last = played.error.strip().splitlines()[-1]
    assert last.startswith("rmft_verl.players.api.EndpointError: http://127.0.0.1")
    assert re.search(said_so, last), last


def test_a_server_that_hangs_and_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "RETRIES", 1)
    with serving(lambda n, body: Answer(delay=2.5)) as fake:
        hung, _ = play(fake.url, timeout=1.0)  # of a server that may share its cores
        assert len(fake.bodies) == 2
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        absent, _ = play(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    assert hung.stop_reason is absent.stop_reason is StopReason.ERROR
    assert "timed out" in hung.error and "after 1 retries" in hung.error
    assert "Connection error" in absent.error


def test_a_dialogue_that_no_longer_fits_ends_for_length() -> None:
    full = failed(400, "This model's maximum context length is 64 tokens, your request has 80.")
    with serving(lambda n, body: said("1") if n < 2 else full) as fake:
        played, _ = play(fake.url)
    assert len(fake.bodies) == 3
    assert played.stop_reason is StopReason.LENGTH and played.actions_T == (1, 1, None)


def test_another_bad_request_is_an_error_and_is_not_repeated() -> None:
    with serving(lambda n, body: failed(400, "no such parameter")) as fake:
        played, _ = play(fake.url)
    assert len(fake.bodies) == 1
    assert "no such parameter" in played.error


def test_a_server_that_repeats_the_key_does_not_put_it_on_file() -> None:
    for trouble in (failed(500, f"key {KEY} is odd"), Answer(body=KEY.encode())):
        with serving(lambda n, body, trouble=trouble: trouble) as fake:
            played, _ = play(fake.url)
        assert KEY not in played.error and "***" in played.error


# ---- settings -------------------------------------------------------------------------------------------------------


def test_a_missing_key_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(RunError, match=r"OPENAI_API_KEY is not set.*--api-key-env"):
        ApiSettings("gpt").check()
    with pytest.raises(RunError, match="MY_KEY is not set"):
        ApiSettings("m", "http://localhost:1/v1", api_key_env="MY_KEY").check()
    ApiSettings("m", "http://localhost:1/v1").check()  # a server of one's own seldom asks for one


def test_what_is_shown_of_an_address_holds_no_secret() -> None:
    assert ApiSettings("m", "https://me:word@host:8/v1?key=abc").shown_url == "https://host:8/v1"
    assert ApiSettings("m").shown_url == "https://api.openai.com/v1"


# ---- the command ----------------------------------------------------------------------------------------------------


def evaluate(url: str, out: Path, *more: str) -> int:
    here = str(Path(__file__).parent)
    command = ["eval", "toy_bandit", "--env-dir", here, "--players", "api:tiny", "--base-url", url, "--out", str(out)]
    return main([*command, "--scenarios", "4", "--concurrency", "1", *more])


def on_file(out: Path) -> list[Trajectory]:
    return read_trajectories(out / "trajectories" / "toy_bandit--api_tiny.parquet")


def test_a_second_run_asks_only_for_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda n, body: said("1") if n < 6 else failed(500, "out of cheese")) as fake:
        assert evaluate(fake.url, tmp_path / "out") == 0
        assert len(fake.bodies) == 2 * 3 + 2 * 3  # two good episodes; two of one request and two repetitions
        first = on_file(tmp_path / "out")
        assert [play.stop_reason.value for play in first] == ["completed", "completed", "error", "error"]
        said_then = capsys.readouterr()
        assert "2 of 4 episodes failed" in said_then.err and "out of cheese" in said_then.err
        assert "(2 failed)" in (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")

        fake.behave = lambda n, body: said("0")
        assert evaluate(fake.url, tmp_path / "out") == 0
        assert len(fake.bodies) == 12 + 2 * 3
        second = on_file(tmp_path / "out")
        assert [play.actions_T for play in second] == [(1, 1, 1)] * 2 + [(0, 0, 0)] * 2
        assert [play.scenario for play in second] == [play.scenario for play in first]

        assert evaluate(fake.url, tmp_path / "out") == 0
        assert len(fake.bodies) == 18
    assert "12 answers, 84 prompt and 24 reply tokens" in capsys.readouterr().out
    texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert texts and not any(KEY.encode() in text for text in texts)


def test_a_run_in_which_everything_failed_still_has_its_table(tmp_path: Path) -> None:
    with serving(lambda n, body: failed(500)) as fake:
        assert evaluate(fake.url, tmp_path, "--players", "api:tiny", "uniform") == 1
    table = (tmp_path / "table.txt").read_text(encoding="utf-8")
    assert "4 failed" in table and "uniform" in table


def test_episodes_are_on_file_one_by_one_and_a_damaged_one_is_played_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda n, body: said("1") if n < 9 else failed(401, "who are you")) as fake:
        assert evaluate(fake.url, tmp_path) == 2  # stopped by a key that no longer holds, as by a crash
        parts = sorted((tmp_path / "trajectories" / "toy_bandit--api_tiny.partial").iterdir())
        assert len(parts) == 3 and len(fake.bodies) == 10
        error = capsys.readouterr().err
        assert "who are you" in error and "api:tiny" in error and error.count("\n") == 1

        parts[0].write_bytes(parts[0].read_bytes()[:-100])
        fake.behave = lambda n, body: said("1")
        assert evaluate(fake.url, tmp_path) == 0
        assert len(fake.bodies) == 10 + 2 * 3
    assert "it is played again" in capsys.readouterr().err
    assert all(play.valid for play in on_file(tmp_path))
    assert not parts[0].parent.exists()


def test_another_way_of_asking_needs_another_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda n, body: said("1")) as fake:
        assert evaluate(fake.url, tmp_path, "--temperature", "0.5") == 0
        assert evaluate(fake.url, tmp_path, "--temperature", "1.0") == 2
        assert "api:tiny: temperature=0.5, not 1.0" in capsys.readouterr().err
        assert evaluate(fake.url, tmp_path, "--temperature", "0.5", "--concurrency", "3", "--timeout", "9") == 0
        assert len(fake.bodies) == 12


def test_concurrent_episodes_are_the_same_episodes(tmp_path: Path) -> None:
    with serving(lambda n, body: said("1")) as fake:
        assert evaluate(fake.url, tmp_path / "one") == 0
        assert evaluate(fake.url, tmp_path / "many", "--concurrency", "4") == 0
    one, many = on_file(tmp_path / "one"), on_file(tmp_path / "many")
    assert [(t.scenario, t.reward_seed, t.turns) for t in one] == [(t.scenario, t.reward_seed, t.turns) for t in many]


def test_the_cost_is_shown_first_and_a_person_may_say_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    prices = ("--price-in", "1000", "--price-out", "2000", "--max-tokens", "20")
    with serving(lambda n, body: said("1")) as fake:
        assert evaluate(fake.url, tmp_path / "out", *prices) == 2
        assert not fake.bodies and not (tmp_path / "out").exists()
        # Three rounds told in 27, 24 and 24 characters: 19, 18 and 18 tokens. So prompts of 19, 37 and 55 tokens and,
        # in the last two, 3 earlier replies of 10 to 20 tokens; four episodes.
        shown = capsys.readouterr().out.replace("\n", " ")
        assert "4 episodes, 12 requests, about 564 to 684 prompt tokens and 120 to 240 reply tokens" in shown
        assert "$0.80 to $1.16" in shown
        assert evaluate(fake.url, tmp_path / "out", *prices, "--yes") == 0
        assert len(fake.bodies) == 12
    assert "$0.13" in capsys.readouterr().out  # 12 x 7 prompt and 12 x 2 reply tokens
