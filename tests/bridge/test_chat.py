from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from templates import QWEN3
from transformers import AutoTokenizer

from rmft_verl.bridge.sampling.chat import end_tokens, load_template
from rmft_verl.bridge.sampling.player import ModelPlayer
from rmft_verl.config import ConfigError
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.plan import plan_lines
from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Message, Observation

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model without a chat template."""
    directory = shutil.copytree(tiny_path("mab"), tmp_path / "base")
    (directory / "chat_template.jinja").unlink()
    return directory


def test_a_model_without_a_template_is_refused_with_the_remedy(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"no chat template.*model\.chat_template_file"):
        load_template(str(base), "", {})


def test_a_template_that_is_given_is_the_one_that_is_used(base: Path) -> None:
    template = load_template(str(base), TEMPLATE, {})
    ids = template.opening([Message("user", "hi")])
    assert AutoTokenizer.from_pretrained(base).decode(ids) == "<|im_start|>user: hi<|im_end|><|im_start|>assistant: "
    assert ids != load_template(str(tiny_path("mab")), "", {}).opening([Message("user", "hi")])


@pytest.mark.parametrize("broken", ["{% if %}", "{{ raise_exception('no roles') }}", "{{ messages[0]['content'] }}"])
def test_a_template_that_cannot_tell_a_dialogue_is_refused_in_one_line(base: Path, broken: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot tell a dialogue") as caught:
        load_template(str(base), broken, {})
    assert "\n" not in str(caught.value)


def test_verl_gets_the_template_word_for_word(base: Path, tmp_path: Path) -> None:
    text = TEMPLATE + "{# '\"$ {x} ${y} \\ #}"
    (tmp_path / "t.jinja").write_text(text)
    given = ["recipe=mab_tiny", "dry_run=true", "hardware.device=cpu", f"model.path={base}"]
    prepared = prepare(load_config([*given, f"model.chat_template_file={tmp_path / 't.jinja'}"]))
    assert prepared.verl_config.actor_rollout_ref.model.custom_chat_template == text
    with pytest.raises(ConfigError, match="no chat template"):
        prepare(load_config(given))


def test_the_plan_says_what_a_chat_api_renders_otherwise(tmp_path: Path) -> None:
    dated = "{% if strftime_now('%Y') %}{% endif %}" + QWEN3
    (tmp_path / "qwen.jinja").write_text(dated)
    given = ["recipe=mab_tiny", "dry_run=true", "hardware.device=cpu"]
    told = [*given, f"model.chat_template_file={tmp_path / 'qwen.jinja'}", "model.chat_template.enable_thinking=false"]
    lines = [line for line in plan_lines(prepare(load_config(told))) if "chat template:" in line]
    assert len(lines) == 2 and "a dialogue with 2 past turns" in lines[0] and "it prints the date" in lines[1]
    assert not [line for line in plan_lines(prepare(load_config(given))) if "chat template:" in line]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.chat_template_file=.*cannot be read"):
        prepare(load_config(["recipe=mab_tiny", "dry_run=true", f"model.chat_template_file={tmp_path / 'none'}"]))


def test_a_reply_that_ends_at_its_cap_in_another_end_token_is_whole(tmp_path: Path) -> None:
    """vLLM also stops at the ends that generation_config.json lists; any other last token at the cap is a cut."""
    directory = shutil.copytree(tiny_path("mab"), tmp_path / "model")
    said = json.loads((directory / "generation_config.json").read_text())
    (directory / "generation_config.json").write_text(json.dumps(said | {"eos_token_id": [said["eos_token_id"], 7]}))
    template = load_template(str(directory), "", {})
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ends = end_tokens(tokenizer)
    assert ends == {said["eos_token_id"], tokenizer.eos_token_id, 7}

    class Client:
        def __init__(self, last: int) -> None:
            self.last = last

        async def generate(self, **request: Any) -> Any:
            return SimpleNamespace(token_ids=[9, 9, self.last], log_probs=None)

    for last, cut in ((7, False), (template.end, False), (9, True)):
        player = ModelPlayer(Client(last), tokenizer, template, {}, 0, (500, 3), ends=ends)
        observation = Observation((Message("user", "Which?"),), None, 0)  # type: ignore[arg-type]
        assert asyncio.run(player.act(observation)).cut is cut
    (directory / "generation_config.json").unlink()
    assert end_tokens(AutoTokenizer.from_pretrained(directory)) == {tokenizer.eos_token_id}
