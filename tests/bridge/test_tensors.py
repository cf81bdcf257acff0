from __future__ import annotations

import math
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from rmft_verl.bridge.shapes import SHAPES, model_shape  # noqa: E402
from rmft_verl.bridge.training.tensors import bucket_megabytes  # noqa: E402
from rmft_verl.setup.models import tiny_path  # noqa: E402

FAMILIES = {
    # config of transformers: (its keys, entries of the largest tensor by hand)
    "Qwen3Config": ({"vocab_size": 151936, "hidden_size": 5120, "intermediate_size": 25600}, 151936 * 5120),
    "Gemma2Config": ({"vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336}, 256000 * 3584),
    "Gemma3TextConfig": ({"vocab_size": 262144, "hidden_size": 640, "intermediate_size": 2048}, 262144 * 640),
    "Phi3Config": (
        {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "pad_token_id": 0},
        32064 * 3072,
    ),
    "LlamaConfig": ({"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192}, 128256 * 2048),
    "MistralConfig": ({"vocab_size": 1000, "hidden_size": 512, "intermediate_size": 4096}, 4096 * 512),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_tensor_of_a_family(family: str, tmp_path: Path) -> None:
    keys, expected = FAMILIES[family]
    getattr(transformers, family)(num_hidden_layers=2, **keys).save_pretrained(tmp_path)
    shape = model_shape(str(tmp_path))
    assert shape is not None and shape.largest == expected
    assert bucket_megabytes(str(tmp_path), 1, download=False) == math.ceil(expected * 4 / 2**20)


def test_a_small_model_gets_the_least() -> None:
    assert bucket_megabytes(str(tiny_path("mab")), 64, download=False) == 64


def test_hub_ids_of_the_recipes_need_no_download() -> None:
    for name, (hidden, *_, vocabulary, _tied, _positions) in SHAPES.items():
        assert bucket_megabytes(name, 1, download=True) >= hidden * vocabulary * 4 / 2**20
    assert bucket_megabytes("Qwen/Qwen3-32B", 2048, download=True) > 2048  # more than verl's default


def test_a_dry_run_asks_no_hub() -> None:
    assert bucket_megabytes("someone/unknown", 2048, download=False) == 2048
