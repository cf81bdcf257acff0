"""The chat template of an exported model renders what the model was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from templates import byte_tokenizer, dated, llama3, phi3, phi35, qwen3, thinking
from transformers import AutoTokenizer

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.sampling.whole import SHORT, played
from rmft_verl.bridge.training import export
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir, write_text


def trained(root: Path, tokenizer: Any, kwargs: dict[str, Any], *words: str) -> RunDir:
    """A run whose trained model has this tokenizer."""
    config = load_config(["recipe=mab_tiny", f"root={root}", "name=run", *words])
    config.model.chat_template = kwargs
    run = RunDir.create(root, "run", OmegaConf.to_yaml(OmegaConf.structured(config)))
    base = str(tiny_path("mab"))
    write_text(run.verl_config, OmegaConf.to_yaml({"actor_rollout_ref": {"model": {"path": base}}}))
    shutil.copytree(base, run.checkpoints / "final")
    tokenizer.save_pretrained(run.checkpoints / "final")
    return run


@pytest.fixture(autouse=True)
def same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are those of the base, and no checksums are noted: only the template is looked at."""
    monkeypatch.setattr(export, "moved", lambda base, trained: True)
    monkeypatch.setattr(export, "verify_final", lambda path: None)


@pytest.mark.parametrize("family", [qwen3, thinking, dated, phi3, llama3, phi35])
def test_an_exported_model_reads_behind_an_api_what_it_was_trained_on(family: Any, tmp_path: Path) -> None:
    tokenizer, kwargs = family()
    run = trained(tmp_path, tokenizer, kwargs)
    exported = AutoTokenizer.from_pretrained(export.export_run(run.path, tmp_path / "out"))
    asked = [message._asdict() for message in SHORT]
    text = exported.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)  # as a chat API does
    in_the_run = ChatTemplate(tokenizer, kwargs | {"today": run.date})
    assert exported(text, add_special_tokens=False).input_ids == played(in_the_run, SHORT)
    changed = exported.chat_template != tokenizer.chat_template
    assert changed == (family is not phi35)  # all others at least lose white space around replies


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "with 2 past turns has"), (["rollout.examples=1"], "the worked examples before a dialogue")],
)
def test_where_no_template_fits_the_export_says_so(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counting = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content | length }} {{ loop.length }}\n{{ m.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = byte_tokenizer(counting, ["<|im_start|>", "<|im_end|>"], "<|im_end|>")
    run = trained(tmp_path, tokenizer, {}, *words)
    out = export.export_run(run.path, tmp_path / "out")
    line = capsys.readouterr().err.strip()
    assert "the exported chat template is the model's own" in line and said in line and "\n" not in line
    assert AutoTokenizer.from_pretrained(out).chat_template == counting
