"""Model shapes, to estimate GPU memory and the size of a weight sync before anything loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rmft_verl.config import Config, LoraConfig


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
    """In each layer: name of a linear map -> its input width plus its output width."""

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> Shape:
        """From the fields of a decoder's ``config.json`` (gated MLP, grouped-query attention)."""
        hidden, layers, vocabulary = hf["hidden_size"], hf["num_hidden_layers"], hf["vocab_size"]
        heads, kv_heads = hf["num_attention_heads"], hf.get("num_key_value_heads") or hf["num_attention_heads"]
        head_dim = hf.get("head_dim") or hidden // heads
        attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
        embeddings = vocabulary * hidden * (1 if hf.get("tie_word_embeddings", False) else 2)
        intermediate = hf["intermediate_size"]
        parameters = layers * (attention + 3 * hidden * intermediate) + embeddings
        widths = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim, "o": heads * head_dim}
        widths |= dict.fromkeys(("gate", "up", "down"), intermediate)
        linears = {f"{name}_proj": hidden + width for name, width in widths.items()}
        return cls(parameters, hidden, layers, kv_heads, head_dim, vocabulary, linears)

    def adapters(self, lora: LoraConfig) -> int:
        """Number of adapter parameters. Modules that are not in ``linears`` are left out."""
        named = lora.target_modules
        sizes = [size for name, size in self.linears.items() if named == "all-linear" or name in named]
        return self.layers * lora.rank * sum(sizes)


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


def memory_gib(shape: Shape, config: Config) -> dict[str, float]:
    """Memory per GPU by part, in GiB, for training all weights, or only adapters, with FSDP2 and Adam.

    Parameters, gradients and Adam's two moments are float32 and sharded. Activations assume gradient checkpointing.
    Logits (bfloat16 and float32) are of one forward pass of ``tokens_per_gpu`` tokens, as if all were sampled. The
    sampler plays as many dialogues at once as its share has room for, at most ``max_num_seqs``.
    """
    hardware = config.hardware
    world = hardware.nodes * hardware.gpus_per_node
    shards = world if hardware.fsdp_size == -1 else hardware.fsdp_size
    gib = 2.0**30
    adapters = shape.adapters(config.model.lora)
    held, trained = shape.parameters + adapters, adapters or shape.parameters
    state = 4 * trained / shards / gib
    weights = 2 * shape.parameters / hardware.tensor_parallel / gib
    kv_token = 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim / hardware.tensor_parallel
    return {
        "trainer parameters (fp32)": 4 * held / shards / gib,
        "trainer gradients (fp32)": state,
        "trainer Adam moments (fp32)": 2 * state,
        "trainer activations (bf16, checkpointed)": 2 * hardware.tokens_per_gpu * shape.hidden * shape.layers / gib,
        "trainer logits (bf16 + fp32)": 6 * hardware.tokens_per_gpu * shape.vocabulary / gib,
        "sampler weights (bf16)": weights,
        "sampler cache of one dialogue of full length (bf16)": kv_token * config.model.context / gib,
    }


def model_shape(model_path: str) -> Shape | None:
    """The shape from the model's config.json or the table of the recipes' models; None if it is in neither."""
    file = Path(model_path) / "config.json"
    return Shape.from_hf(json.loads(file.read_text())) if file.is_file() else known_shape(model_path)


def model_positions(model_path: str) -> int | None:
    """Most tokens that the model can read, from the same sources; None if it is in neither."""
    file = Path(model_path) / "config.json"
    if not file.is_file():
        return SHAPES[model_path][-1] if model_path in SHAPES else None
    hf = json.loads(file.read_text())
    positions: int | None = (hf | (hf.get("text_config") or {})).get("max_position_embeddings")
    return positions
