"""The size of a model's largest tensor, before the model is loaded."""

from __future__ import annotations

import math
from pathlib import Path

from rmft_verl.bridge.shapes import SHAPES

TRAVELS = 4
"""Bytes per entry in a weight sync: verl streams the trainer's own float32 parameters."""


def bucket_megabytes(model_path: str, least: int, download: bool) -> int:
    """MiB of verl's weight-sync buffer, at least ``least``. Every tensor must fit into it whole.

    ``download``: whether the configuration of an unknown hub id may be downloaded.
    """
    if Path(model_path).is_dir() or (download and model_path not in SHAPES):
        try:
            entries = largest_tensor(model_path)
        except OSError:  # the hub cannot be reached: verl, which needs the weights too, says so
            entries = 0
    elif model_path in SHAPES:
        hidden, *_, intermediate, vocabulary, _tied, _positions = SHAPES[model_path]
        entries = hidden * max(vocabulary, 2 * intermediate)  # some families store gate and up as one
    else:
        entries = 0
    return max(least, math.ceil(entries * TRAVELS / 2**20))


def largest_tensor(model_path: str) -> int:
    """Entries of the largest parameter, read from the model on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_path))
    return max(parameter.numel() for parameter in model.parameters())
