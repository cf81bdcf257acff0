"""The buffer of a weight sync, sized before the model is loaded."""

from __future__ import annotations

import math
from pathlib import Path

from rmft_verl.bridge.shapes import known_shape, model_shape

TRAVELS = 4
"""Bytes per entry in a weight sync: verl streams the trainer's own float32 parameters."""


def bucket_megabytes(model_path: str, least: int, download: bool) -> int:
    """MiB of verl's weight-sync buffer, at least ``least``. Every tensor must fit into it whole.

    ``download``: whether the configuration of an unknown hub id may be downloaded.
    """
    readable = download or Path(model_path).is_dir()
    shape = model_shape(model_path) if readable else known_shape(model_path)
    return max(least, math.ceil(shape.largest * TRAVELS / 2**20) if shape else 0)
