"""Models that cannot be trained: one line with the remedy, before anything starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, Gemma3Config
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rmft_verl.bridge.shapes import built_shape, known_shape, model_shape
from rmft_verl.config import ConfigError
from rmft_verl.main import main
from rmft_verl.setup.models import tiny_path


def rewrite(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    told = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


def shards(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "model-00001-of-00002.safetensors").write_text("")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no template": (lambda d: (d / "chat_template.jinja").unlink(), "model.chat_template_file"),
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), "its tokenizer does not load"),
    "half a tokenizer": (lambda d: (d / "tokenizer.json").write_text("{"), "its tokenizer does not load"),
    "no architecture": (lambda d: rewrite(d, architectures=None), "names no architecture"),
    "no model type": (lambda d: rewrite(d, model_type=None), "transformers builds no causal language model"),
    "a type of tomorrow": (lambda d: rewrite(d, model_type="qwen9"), "transformers builds no causal language model"),
    "an encoder": (lambda d: rewrite(d, model_type="t5"), "transformers builds no causal language model"),
    "no heads": (lambda d: rewrite(d, num_attention_heads=0), "transformers builds no causal language model"),
    "not JSON": (lambda d: (d / "config.json").write_text("{"), "cannot be read"),
    "a list": (lambda d: (d / "config.json").write_text("[]"), "cannot be read"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "holds no weights"),
    "a missing shard": (shards, "model-00002-of-00002.safetensors"),
    "AWQ": (lambda d: rewrite(d, quantization_config={"quant_method": "awq", "bits": 4}), r"quantised (awq)"),
    "FP8": (lambda d: rewrite(d, quantization_config={"quant_method": "fp8"}), r"quantised (fp8)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_model_that_cannot_be_trained_is_one_line(case: str, tmp_path: Path, capsys: Any) -> None:
    spoil, told = BROKEN[case]
    directory = shutil.copytree(tiny_path("mab"), tmp_path / "model")
    spoil(directory)
    assert main(["recipe=mab_tiny", "hardware.device=cpu", "dry_run=true", f"model.path={directory}"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and told in said.err and str(directory) in said.err and not said.out


@pytest.mark.parametrize("family", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_every_causal_model_of_transformers_has_a_size_or_one_line(family: str, tmp_path: Path) -> None:
    try:
        CONFIG_MAPPING[family]().save_pretrained(tmp_path)
    except Exception:  # transformers itself cannot make or write its default
        pytest.skip("no default configuration")
    try:
        shape = model_shape(str(tmp_path))
    except ConfigError as error:
        assert "\n" not in str(error) and str(tmp_path) in str(error)
        return
    assert shape is not None
    assert shape.parameters >= shape.largest > 0 and shape.hidden > 0 and shape.vocabulary > 0


def test_the_table_says_what_transformers_builds() -> None:
    name = "Qwen/Qwen3-0.6B"
    keys = {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}
    more = {"head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936, "tie_word_embeddings": True}
    with torch.device("meta"):
        built = built_shape(AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3", **keys, **more)))
    known = known_shape(name)
    assert known is not None and built.parameters == pytest.approx(known.parameters, rel=1e-3)  # but for the norms
    assert (built.linears, built.outside, built.largest) == (known.linears, known.outside, known.largest)
    assert (built.layers, built.kv_heads, built.head_dim) == (28, 8, 128)


def test_a_nested_text_config_is_read(tmp_path: Path) -> None:
    text = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    Gemma3Config(text_config={**text, "head_dim": 16, "intermediate_size": 96, "vocab_size": 500}).save_pretrained(
        tmp_path
    )
    shape = model_shape(str(tmp_path))
    assert shape is not None
    assert (shape.hidden, shape.layers, shape.kv_heads, shape.head_dim, shape.vocabulary) == (64, 3, 2, 16, 500)
