"""Models of other families through the real stack: sync, canary, update, export, reload, same log-probabilities.

Two random layers each with the family's own vocabulary and oddities (tied embeddings, fused projections, sliding
windows, soft caps).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.setup.start import start_backend
from rmft_verl.types import Batch, RolloutRequest, Tokens

pytestmark = pytest.mark.e2e

FAMILIES: dict[str, dict[str, Any]] = {
    "Qwen3": {"vocab_size": 151936, "tie_word_embeddings": False},
    "Gemma2": {"vocab_size": 256000, "sliding_window": 64, "query_pre_attn_scalar": 32},
    "Gemma3Text": {
        "vocab_size": 262144,
        "sliding_window": 64,
        "query_pre_attn_scalar": 32,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Phi3": {"vocab_size": 32064},
    "Llama": {"vocab_size": 128256, "tie_word_embeddings": True},
    "Mistral": {"vocab_size": 32768, "sliding_window": None},
}
GIVEN = ("recipe=mab_tiny", "env.options.horizon=[3]", "rollout.reply_tokens=8", "rollout.timeout=300")
GIVEN += ("hardware.tokens_per_gpu=1024",)


def filled_tokenizer(size: int, directory: Path) -> Any:
    """The shipped tokenizer with a name for every one of ``size`` ids: verl never samples an id that has none, and a
    random model would give those its weight.
    """
    shutil.copytree(tiny_path("mab"), directory, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    file = directory / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    taken = set(vocabulary.values()) | {token["id"] for token in content["added_tokens"]}
    vocabulary |= {f"unused{i}": i for i in range(size) if i not in taken}
    file.write_text(json.dumps(content), encoding="utf-8")
    return AutoTokenizer.from_pretrained(directory)


def random_model(family: str, directory: Path) -> Path:
    tokenizer = filled_tokenizer(FAMILIES[family]["vocab_size"], directory)
    assert len(tokenizer) == FAMILIES[family]["vocab_size"]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.eos_token_id,
        **FAMILIES[family],
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(directory)
    return directory


SHORT = ("Qwen3", "Gemma3Text")
"""Always run: untied embeddings; the largest vocabulary, tied, with sliding windows."""


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in SHORT else pytest.mark.soak) for name in FAMILIES]
)
def test_a_family_syncs_learns_and_is_exported(family: str, tmp_path: Path) -> None:
    model = random_model(family, tmp_path / "model")
    through_the_loop(prepare(load_config([*GIVEN, f"model.path={model}"])), tmp_path)


def through_the_loop(prepared: Prepared, folder: Path) -> Path:
    """Two syncs, each proven by the canary, and an update between them; returns the saved model."""
    generator: Any = prepared.env_class.Generator(**prepared.config.env.options)
    rng = np.random.default_rng(0)
    requests = [RolloutRequest(generator.draw(rng), i, i) for i in range(8)]
    backend = start_backend(prepared, folder)
    try:
        backend.sync(0)
        played = backend.rollout(requests, 0)  # proves the first sync
        assert all(play.error == "" for play in played)
        before = backend.update(Batch(played, range(len(played))), seed=0)["update/loss_first"]
        assert backend.sync(1)["sync/moved"] > 0
        assert backend.update(Batch(played, range(len(played))), seed=0)["update/loss_first"] < before
        backend.sync(2)
        probe = [tokens for play in played[:2] for tokens in play.tokens]
        ours = backend._trainer_logprobs(probe)
        backend.save(folder / "saved")
    finally:
        backend.close()
    for row, tokens in zip(ours, probe, strict=True):
        assert (row - logprobs(folder / "saved", tokens)).abs().mean() < 0.03  # bfloat16 rounds -11 to sixteenths
    return folder / "saved"


def logprobs(model_path: Path, tokens: Tokens) -> torch.Tensor:
    """Of the sampled tokens, by transformers in float32."""
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32, attn_implementation="eager")
    ids = torch.from_numpy(tokens.ids_N.copy()).long()[None]
    with torch.no_grad():
        rows = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return rows[torch.from_numpy(tokens.mask_N.copy()).bool()[1:]]
