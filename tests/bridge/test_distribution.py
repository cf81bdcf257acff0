"""What a model's own files say of sampling: only stop tokens reach vLLM, and the plan says all of it."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from templates import gemma2, llama3, phi35, qwen3, shipped
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from vllm import SamplingParams

from rmft_verl.bridge.sampling.chat import load_template, sampling_lines
from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.config import ConfigError
from rmft_verl.setup.models import tiny_path

FILE = {"temperature": 0.6, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.3, "eos_token_id": [2, 1]}
SMOLLM = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are SmolLM<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_of_a_generation_config_only_the_stop_tokens_reach_vllm() -> None:
    asked: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}
    source = inspect.getsource(AgentLoopWorker.generate_sequences)
    assert all(f"{key}=" in source for key in asked)  # verl names them in every request
    params = SamplingParams(**asked, stop_token_ids=[2])
    params.update_from_generation_config(FILE, eos_token_id=2)
    assert {key: getattr(params, key) for key in asked} == asked | {"top_k": params.top_k}
    assert params.top_k in (-1, 0) and params.min_p == 0  # both mean all tokens
    assert set(params.stop_token_ids or ()) == {1, 2}


@pytest.mark.parametrize("family", [shipped, qwen3, llama3, gemma2, phi35])
def test_most_templates_say_nothing_by_themselves(family: Any) -> None:
    assert ChatTemplate(*family()).preamble() == ""


def test_the_plan_says_what_the_files_add(tmp_path: Path) -> None:
    directory = shutil.copytree(tiny_path("mab"), tmp_path / "model")
    (directory / "chat_template.jinja").write_text(SMOLLM)
    (directory / "generation_config.json").write_text(json.dumps(FILE))
    ends, begins, draws = sampling_lines(str(directory), load_template(str(directory), "", {}))
    assert ends.startswith("a reply ends at <|im_end|> or ") and ends.count(" or ") == 1
    assert begins == "the chat template begins every dialogue with: system You are SmolLM"
    assert "temperature=0.6, top_p=0.8, top_k=20, repetition_penalty=1.3; rollout.temperature" in draws
    (directory / "generation_config.json").unlink()
    (directory / "chat_template.jinja").write_text((tiny_path("mab") / "chat_template.jinja").read_text())
    assert sampling_lines(str(directory), load_template(str(directory), "", {})) == ["a reply ends at <|im_end|>"]
    (directory / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        sampling_lines(str(directory), load_template(str(directory), "", {}))
