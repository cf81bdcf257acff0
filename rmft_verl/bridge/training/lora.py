"""LoRA through verl: extracts the adapter from the trainer's state on disk and merges it into the model."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger

ADAPTER = "adapter"
"""Directory beside the merged weights with the adapter alone, in peft's format."""


class _AdapterMerger(FSDPModelMerger):
    """verl's merger of the GPUs' shards, which here hold only the adapter."""

    def save_hf_model_and_tokenizer(self, state_dict: dict[str, torch.Tensor]) -> None:
        self.save_lora_adapter(state_dict)


def write_merged(state: Path, base: str) -> None:
    """Fill ``state/huggingface`` with ``base`` and the trained adapter merged (bfloat16), and the adapter alone.

    ``state``: the trainer's state as verl saved it; ``base``: the model that it began with.
    """
    target = state / "huggingface"
    merging = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=str(state),
        target_dir=str(state),
        hf_model_config_path=str(target),
    )
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        _AdapterMerger(merging).merge_and_save()
    adapter = target / ADAPTER
    shutil.rmtree(adapter, ignore_errors=True)
    (state / "lora_adapter").rename(adapter)
    _name_base(adapter / "adapter_config.json", base)
    merged(base, adapter).to(torch.bfloat16).save_pretrained(target)


def merged(base: str, adapter: Path) -> Any:
    """``base`` in float32 with an adapter merged into its weights."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def _name_base(file: Path, base: str) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
