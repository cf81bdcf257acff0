"""A copy of a model that is less sure: its logits divided by a temperature, in its own weights.

vLLM samples at temperatures up to 2 only, and a small pretrained model can be surer than that of a name for no reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rmft_verl.types import RunError

NORMS = ("norm", "final_layernorm", "ln_f", "final_layer_norm")
"""What models call the last norm before the head."""

CLOSE = 0.02
"""Root mean square of the error that the copy's logits may have from rounded weights, as a share of their spread."""


def soften(model: str, out: Path, temperature: float) -> None:
    """Write ``model``, a directory or hub id, to ``out``, changed so that it samples at temperature 1 as it does at
    ``temperature``.

    The head is scaled, or the last norm where the head shares the embedding's weights. Raises ``RunError`` if the
    temperature is not a positive number, if ``out`` exists, or if no scale does it (a final soft cap of the logits).
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise RunError(f"--temperature {temperature:g}: must be above 0")
    if out.exists():
        raise RunError(f"{out} exists already: name another place, or remove it")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    dtype = loaded.dtype
    loaded.float()  # computes exactly; the weights stay values of ``dtype``
    ids = torch.arange(16)[None]

    with torch.no_grad():
        asked = loaded(input_ids=ids).logits.double() / temperature
        for scale in _scales(loaded, temperature, dtype):
            undo = scale()
            if (loaded(input_ids=ids).logits.double() - asked).square().mean().sqrt() <= CLOSE * asked.std():
                unfinished = out.with_name(f"{out.name}.unfinished")
                loaded.to(dtype).save_pretrained(unfinished)
                AutoTokenizer.from_pretrained(model).save_pretrained(unfinished)
                unfinished.rename(out)
                return
            undo()
    raise RunError(
        f"{model}: no scale of its last weights divides its logits by {temperature:g}; use rollout.temperature"
    )


def _scales(model: Any, temperature: float, dtype: Any) -> list[Callable[[], Callable[[], None]]]:
    """Ways to divide the logits of ``model``, in weights of ``dtype``. Each returns what undoes it."""
    head, body = model.get_output_embeddings(), model.base_model
    if not model.config.get_text_config().tie_word_embeddings:
        return [lambda: _change(head, lambda value: value / temperature, dtype)]
    norm = next((getattr(body, name) for name in NORMS if hasattr(body, name)), None)
    if norm is None:
        return []
    return [
        lambda: _change(norm, lambda value: value / temperature, dtype),
        lambda: _change(
            norm, lambda value: (value + 1) / temperature - 1, dtype
        ),  # Gemma's norms multiply by 1 + weight
    ]


def _change(layer: Any, by: Callable[[Any], Any], dtype: Any) -> Callable[[], None]:
    """Change the parameters of ``layer``; returns what undoes it."""
    before = [(parameter, parameter.clone()) for parameter in layer.parameters()]
    for parameter, value in before:
        parameter.copy_(by(value).to(dtype))

    def undo() -> None:
        for parameter, value in before:
            parameter.copy_(value)

    return undo
