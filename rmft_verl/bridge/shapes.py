"""What a model's ``config.json`` says of its size, before any weight loads: parameters, widths, largest tensor."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rmft_verl.config import ConfigError, LoraConfig

AT_ONCE, CHUNK = 1024, 512
"""The trainer computes the logits of this many tokens at once; those of more are computed in chunks, and again for the
gradient, so that no more exist at a time.
"""

PROBE = 8
"""Number of dialogues that the canary compares."""

WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Bytes of a number."""


@dataclass(frozen=True)
class Shape:
    """The numbers that a model's memory depends on."""

    parameters: int
    hidden: int
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    linears: Mapping[str, int]
    """Name of a linear map -> its input width plus its output width, added up over the layers."""
    outside: int = 0
    """Parameters outside the layers: embeddings and head."""
    largest: int = 0
    """Entries of the largest tensor."""

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> Shape:
        """From the fields of a decoder's ``config.json`` (gated MLP, grouped-query attention)."""
        hidden, layers, vocabulary = hf["hidden_size"], hf["num_hidden_layers"], hf["vocab_size"]
        heads, kv_heads = hf["num_attention_heads"], hf["num_key_value_heads"]
        head_dim = hf["head_dim"]
        attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
        embeddings = vocabulary * hidden * (1 if hf["tie_word_embeddings"] else 2)
        intermediate = hf["intermediate_size"]
        parameters = layers * (attention + 3 * hidden * intermediate) + embeddings
        widths = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim, "o": heads * head_dim}
        widths |= dict.fromkeys(("gate", "up", "down"), intermediate)
        linears = {f"{name}_proj": layers * (hidden + width) for name, width in widths.items()}
        largest = hidden * max(vocabulary, 2 * intermediate)  # some families store gate and up as one
        return cls(parameters, hidden, layers, kv_heads, head_dim, vocabulary, linears, embeddings, largest)

    def cached(self, dtype: str) -> int:
        """Bytes of the sampler's cache for one token."""
        return 2 * WIDTHS[dtype] * self.layers * self.kv_heads * self.head_dim

    def adapters(self, lora: LoraConfig) -> int:
        """Number of adapter parameters. Modules that are not in ``linears`` are left out."""
        named = lora.target_modules
        sizes = [size for name, size in self.linears.items() if named == "all-linear" or name in named]
        return lora.rank * sum(sizes)


SHAPES: dict[str, tuple[int, int, int, int, int, int, int, bool, int]] = {
    # hidden, layers, heads, key-value heads, head size, intermediate, vocabulary, tied, positions: all from config.json
    "Qwen/Qwen3-0.6B": (1024, 28, 16, 8, 128, 3072, 151936, True, 40960),
    "Qwen/Qwen3-1.7B": (2048, 28, 16, 8, 128, 6144, 151936, True, 40960),
    "Qwen/Qwen3-4B": (2560, 36, 32, 8, 128, 9728, 151936, True, 40960),
    "Qwen/Qwen3-8B": (4096, 36, 32, 8, 128, 12288, 151936, False, 40960),
    "Qwen/Qwen3-14B": (5120, 40, 40, 8, 128, 17408, 151936, False, 40960),
    "Qwen/Qwen3-32B": (5120, 64, 64, 8, 128, 25600, 151936, False, 40960),
    "microsoft/Phi-3.5-mini-instruct": (3072, 32, 32, 32, 96, 8192, 32064, False, 131072),
    "google/gemma-2-9b-it": (3584, 42, 16, 8, 256, 14336, 256000, True, 8192),
}


def known_shape(path: str) -> Shape | None:
    """The shape of a model of the recipes by its hub id, without a download; None for other models."""
    if path not in SHAPES:
        return None
    hidden, layers, heads, kv_heads, head_dim, intermediate, vocabulary, tied, _ = SHAPES[path]
    return Shape.from_hf(
        {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "intermediate_size": intermediate,
            "head_dim": head_dim,
            "vocab_size": vocabulary,
            "tie_word_embeddings": tied,
        }
    )


def model_shape(model_path: str) -> Shape | None:
    """The shape from the table of the recipes' models or from the configuration of a directory or hub id.

    None if ``model_path`` is neither. Raises ``ConfigError`` if transformers builds no causal language model from it.
    """
    file = Path(model_path) / "config.json"
    if file.is_file():
        return _built(model_path, file.read_text(encoding="utf-8"))
    return known_shape(model_path) or (_built(model_path, "") if model_path.count("/") == 1 else None)


@lru_cache(maxsize=8)
def _built(model_path: str, text: str) -> Shape:
    """The shape of the model that transformers builds, without weights. ``text``: of its config.json, for the cache."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model_path)
        if not getattr(config, "quantization_config", None):
            with torch.device("meta"):
                return built_shape(AutoModelForCausalLM.from_config(config))
    except Exception as error:  # whatever the code of an architecture raises on its configuration
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.path={model_path}: transformers builds no causal language model from its config.json ({reason}); "
            "name another model directory or hub id"
        ) from error
    raise ConfigError(
        f"model.path={model_path}: its weights are quantised ({_method(config.quantization_config)}), and quantised "
        "weights are not trained; name the model that it was made from"
    )


def _method(quantization: Any) -> str:
    told = quantization if isinstance(quantization, Mapping) else vars(quantization)
    return str(told.get("quant_method", "quantization_config"))


def built_shape(model: Any) -> Shape:
    """The shape of a causal language model of transformers, which may lie on the meta device."""
    import torch

    text, head = model.config.get_text_config(), model.get_output_embeddings()
    linears: Counter[str] = Counter()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            linears[name.rpartition(".")[2]] += module.in_features + module.out_features
    heads = _first(text, "num_attention_heads")
    hidden = _first(text, "hidden_size") or model.get_input_embeddings().weight.shape[1]
    sizes = [parameter.numel() for parameter in model.parameters()]
    ends = {id(part.weight): part.weight.numel() for part in (model.get_input_embeddings(), head) if part is not None}
    return Shape(
        parameters=sum(sizes),
        hidden=hidden,
        layers=_first(text, "num_hidden_layers"),
        kv_heads=_first(text, "num_key_value_heads") or heads,
        head_dim=_first(text, "head_dim") or (hidden // heads if heads else 0),
        vocabulary=_first(text, "vocab_size") or model.get_input_embeddings().weight.shape[0],
        linears=dict(linears),
        outside=sum(ends.values()),
        largest=max(sizes),
    )


def _first(config: Any, key: str) -> int:
    """A number of a configuration; of a list with one per layer the largest; 0 if there is none."""
    value = getattr(config, key, None)
    values = value if isinstance(value, (list, tuple)) else [value]
    return max((each for each in values if isinstance(each, int)), default=0)


def model_positions(model_path: str) -> int | None:
    """Most tokens that the model can read, from its config.json or the table; None if it is in neither."""
    file = Path(model_path) / "config.json"
    if not file.is_file():
        return SHAPES[model_path][-1] if model_path in SHAPES else None
    hf = json.loads(file.read_text(encoding="utf-8"))
    positions: int | None = (hf | (hf.get("text_config") or {})).get("max_position_embeddings")
    return positions
