"""How large the tensors of a model are, before it is loaded."""

from __future__ import annotations

import math
from pathlib import Path

from rmft_verl.bridge.shapes import SHAPES

TRAVELS = 4
"""Bytes of an entry on its way from trainer to sampler: verl streams the trainer's own parameters, float32."""


def bucket_megabytes(model_path: str, least: int, download: bool) -> int:
    """MiB of verl's buffer of the weight sync, which every tensor must fit into whole; ``least`` or more.

    ``download``: whether a hub id that is not known here may be asked for its configuration.
    """
    if Path(model_path).is_dir() or (download and model_path not in SHAPES):
        try:
            entries = largest_tensor(model_path)
        except OSError:  # a hub that cannot be reached: verl, which needs the weights too, says so
            entries = 0
    elif model_path in SHAPES:
        hidden, *_, intermediate, vocabulary, _tied, _positions = SHAPES[model_path]
        entries = hidden * max(vocabulary, 2 * intermediate)  # some families keep gate and up in one
    else:
        entries = 0
    return max(least, math.ceil(entries * TRAVELS / 2**20))


def largest_tensor(model_path: str) -> int:
    """Entries of the largest parameter, read off the model built without memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_path))
    return max(parameter.numel() for parameter in model.parameters())
