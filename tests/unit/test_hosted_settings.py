"""What a run on a hosted model refuses before anything is sent, and what a provider would refuse in its file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rmft_verl.bridge.hosted.journal import Tally
from rmft_verl.bridge.hosted.rules import broken
from rmft_verl.bridge.hosted.settings import Hosted
from rmft_verl.config import ConfigError
from rmft_verl.main import main
from rmft_verl.main.cli import main as command
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.stored_config import differences, stored_config

RIGHT = ("recipe=mab_hosted", "hosted.budget=20")
FREE = {"base_url": "http://localhost:1/v1", "budget": 1}
FREE |= {"price_in": 0, "price_out": 0, "price_train": 0}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["hosted.budgt=3"], ["hosted.budgt=3", "Known: base_url"]),
        (["hosted.budget=much"], ["hosted.budget='much'", "write a float"]),
        (["hosted.budget=-1"], ["hosted.budget=-1", "at least 0"]),
        (["hosted.price_train=.nan"], ["hosted.price_train is not set"]),
        (["hosted.weights=3"], ["hosted.weights=3", "write a bool"]),
        (["hosted.base_url=''"], ["hosted.base_url=''", "whole address"]),
        (["hosted.base_url=https://api.together.xyz/v1"], ["Together trains by /fine-tunes", "export RUN"]),
        (["hosted.base_url=https://api.fireworks.ai/inference/v1"], ["Fireworks trains by /accounts/"]),
        (["hosted.base_url=https://api.mistral.ai/v1"], ["Mistral has deprecated"]),
        (["hosted.base_url=https://me:secret@x/v1"], ["hosted.base_url holds a password"]),
        (["hosted.suffix=Jane Doe"], ["hosted.suffix='Jane Doe'", "letters, digits and dashes"]),
        (["hosted.rate=0"], ["hosted.rate=0", "above 0"]),
        (["update.loss=grpo"], ["update.loss='grpo'", "choose one of sft, dpo"]),
        (["update.loss=dpo", "update.sft_term=0.1"], ["update.sft_term=0.1", "leave it out"]),
        (["update.loss=dpo", "rollout.scenarios=2", "update.batch=4"], ["at most 8 pairs", "OpenAI takes 10 or more"]),
        (["update.lr=1e-4"], ["update.lr=0.0001", "use hosted.rate"]),
        (["update.train_on=action"], ["update.train_on=action", "leave it out"]),
        (["rollout.structured=true"], ["rollout.structured=True", "leave it out"]),
        (["rollout.tokens=1000"], ["rollout.tokens=1000", "leave it out"]),
        (["model.lora.rank=8"], ["model.lora.rank=8", "leave it out"]),
        (["hardware.gpus_per_node=8"], ["hardware.gpus_per_node=8", "max_num_seqs"]),
        (["rollout.scenarios=2", "update.batch=4"], ["at most 8 dialogues", "OpenAI takes 10 or more"]),
        (["model.path=tiny:mab"], ["hosted={", "leave it out"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_one_line(wrong: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as told:
        load_config([*RIGHT, *wrong])
    assert all(word in str(told.value) for word in words), told.value
    assert "\n" not in str(told.value) and "secret" not in str(told.value)


def test_a_missing_key_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main([*RIGHT, f"root={tmp_path}"]) == 2
    assert "OPENAI_API_KEY is not set" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "name", "key"),
    [
        ("https://api.openai.com/v1", "OpenAI", "OPENAI_API_KEY"),
        ("https://mine.openai.azure.com/openai/v1", "Azure OpenAI", "AZURE_OPENAI_API_KEY"),
        ("http://localhost:8000/v1", "a server of your own", "OPENAI_API_KEY"),
        ("https://notapi.openai.com.example.org/v1", "a server of your own", "OPENAI_API_KEY"),
    ],
)
def test_the_address_says_which_provider_it_is(url: str, name: str, key: str) -> None:
    settings = Hosted.of(FREE | {"base_url": url})
    assert (settings.provider.name, settings.key_variable) == (name, key)
    if name != "a server of your own":
        with pytest.raises(ConfigError, match=f"{key}_OF_MINE is not set"):
            dataclasses.replace(settings, key_env=f"{key}_OF_MINE").key()


def test_what_one_must_know_of_a_provider_stands_in_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RIGHT, "dry_run=true"]) == 0
    assert "OpenAI winds fine-tuning down" in capsys.readouterr().out
    assert main([*RIGHT, "hosted.base_url=http://localhost:1/v1", "dry_run=true"]) == 0
    assert "notice" not in capsys.readouterr().out


def test_every_setting_is_explained() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "hosted.md").read_text(encoding="utf-8")
    table = page.partition("## Settings")[2].partition("## Money")[0]
    assert all(f"`{field.name}`" in table for field in dataclasses.fields(Hosted))


def test_without_a_budget_nothing_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe=mab_hosted", f"root={tmp_path}"]) == 2
    assert "hosted.budget=0: nothing may be spent" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_plan_says_what_it_costs_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RIGHT, "dry_run=true"]) == 0
    plan = capsys.readouterr().out
    # 3 iterations of 16 x 8 plays and 2 evaluations of 50; of 64 kept ones the file, once.
    assert "for 484 dialogues (9,680 requests)" in plan and "for 3 fine-tuning jobs" in plan
    assert "hosted.budget=$20.00" in plan


def test_prices_and_places_may_change_in_a_run_and_the_model_may_not(tmp_path: Path) -> None:
    stored = stored_config(
        RunDir.create(tmp_path, "run", "hosted: {budget: 1, rate: 2.0}\nmodel: {path: 'hosted:a'}").path
    )
    same = {"model.path": "hosted:gpt-4o-mini-2024-07-18"}
    keys = {line.partition("=")[0] for line in differences(stored | same, load_config([*RIGHT, "hosted.rate=1.0"]))}
    assert "hosted.rate" in keys and not keys & {"hosted.budget", "hosted.price_in", "hosted.base_url"}


def test_the_weights_of_a_hosted_model_are_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir.create(tmp_path, "run", "model: {path: 'hosted:a'}")
    (run.checkpoints / "final").mkdir()
    told = {"model": "ft:a:x", "base_url": "http://there/v1"}
    (run.checkpoints / "final" / "hosted.json").write_text(json.dumps(told))
    assert command(["export", str(run.path), str(tmp_path / "out")]) == 2
    assert "--players api:ft:a:x --base-url http://there/v1" in capsys.readouterr().err


def test_only_a_hosted_run_has_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir.create(tmp_path, "run", "model: {path: 'tiny:mab'}")
    assert command(["cancel", str(run.path)]) == 2
    assert "there is no job to cancel" in capsys.readouterr().err


# ---- what a provider refuses in a file ------------------------------------------------------------------------------

USER, REPLY = {"role": "user", "content": "Choose."}, {"role": "assistant", "content": "1", "weight": 1}


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([USER, REPLY], ""),
        ([{"role": "system", "content": "Be brief."}, USER, REPLY | {"weight": 0}, USER, REPLY], ""),
        ([USER, {"role": "assistant", "content": "1"}], ""),
        ([], "holds no messages"),
        ([USER], "ends with a message of user"),
        ([USER, REPLY | {"weight": 0}], "none of its replies"),
        ([USER, REPLY | {"content": " "}], "message 2 is empty"),
        ([USER, REPLY | {"content": None}], "message 2 is empty"),
        ([USER | {"role": "human"}, REPLY], "message 1 is of 'human'"),
        ([USER, {"role": "system", "content": "x"}, REPLY], "message 2 is of system"),
        ([USER | {"weight": 1}, REPLY], "message 1 has weight 1"),
        ([USER, REPLY | {"weight": 0.5}], "message 2 has weight 0.5"),
        ([USER | {"email": "a@b.c"}, REPLY], "message 1 is not role, content and weight"),
    ],
)
def test_an_example_that_would_be_refused_is_known_before(messages: list[Any], why: str) -> None:
    found = broken({"messages": messages}, 10, 100)
    assert why in found and bool(found) == bool(why)


def test_a_preference_that_would_be_refused_is_known_before() -> None:
    said = [{"role": "assistant", "content": "1"}]
    pair = {"input": {"messages": [USER]}, "preferred_output": said, "non_preferred_output": said}
    assert broken(pair, 10, 100) == ""
    assert "message 2 is empty" in broken(pair | {"non_preferred_output": [said[0] | {"content": ""}]}, 10, 100)
    assert "about 101 tokens" in broken(pair, 101, 100)


def test_an_example_that_is_too_long_is_known_before() -> None:
    assert "about 101 tokens, and 100 are allowed" in broken({"messages": [USER, REPLY]}, 101, 100)


def test_tokens_are_estimated_from_what_was_counted() -> None:
    """At 0.2 tokens a character and 4 a message, learned from requests of many shapes."""
    rng, tally = np.random.default_rng(0), Tally()
    assert tally.tokens(["a" * 30, "b" * 30]) == 40

    def counted(texts: list[str]) -> int:
        return round(sum(0.2 * len(text) + 4 for text in texts))

    for _ in range(50):
        texts = ["x" * int(n) for n in rng.integers(5, 400, rng.integers(2, 12))]
        tally += Tally.of(texts, counted(texts) - 3, 3)
    long = ["y" * 500] * 40
    assert tally.tokens(long) == pytest.approx(counted(long), rel=0.02)
    assert (tally.requests, tally.reply) == (50, 150)


def test_dollars_are_per_million_tokens() -> None:
    priced = Hosted.of(FREE | {"price_in": 1, "price_out": 2, "price_train": 10})
    assert priced.dollars(prompt=1e6, reply=5e5, trained=1e5) == pytest.approx(3.0)
