"""A softened copy has exactly the original's logits divided by the temperature, in every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rmft_verl.main.cli import main
from rmft_verl.setup.models import tiny_path
from rmft_verl.setup.soften import soften
from rmft_verl.types import RunError

SMALL = {
    "vocab_size": 600,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": {},
    "llama": {"tie_word_embeddings": True},
    "phi3": {"tie_word_embeddings": False},
    "gemma3_text": {"tie_word_embeddings": True},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "tie_word_embeddings": True},
}


def made(family: str, directory: Path, **options: Any) -> Path:
    """A model of random weights, whose norms are not at their first values either."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **(SMALL | FAMILIES.get(family, {}) | options))
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if "norm" in name or "ln_" in name else 0.05))
    model.to(torch.bfloat16).save_pretrained(directory)
    AutoTokenizer.from_pretrained(tiny_path("mab")).save_pretrained(directory)
    return directory


def logits(directory: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(100, 140)[None]).logits
    return found


@pytest.mark.parametrize("tied", [None, True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_its_logits_are_divided(family: str, tied: bool | None, tmp_path: Path) -> None:
    options = {} if tied is None else {"tie_word_embeddings": tied}
    before = made(family, tmp_path / "model", **options)
    soften(str(before), tmp_path / "soft", 4.0)
    asked = logits(before) / 4
    assert asked.std() > 0.01
    # A power of two changes no bit of a bfloat16 weight, except where a norm multiplies by 1 + weight.
    assert torch.allclose(
        logits(tmp_path / "soft"), asked, atol=5e-2 * asked.std().item() if "gemma" in family else 1e-5
    )
    first, second = (AutoModelForCausalLM.from_pretrained(path, dtype="auto") for path in (before, tmp_path / "soft"))
    assert first.dtype == second.dtype == torch.bfloat16
    changed = {
        name
        for (name, old), (_, new) in zip(first.named_parameters(), second.named_parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert changed and all("lm_head" in name or "norm" in name or "ln_f" in name for name in changed), changed
    assert all("layers" not in name for name in changed)
    told = [AutoTokenizer.from_pretrained(path).chat_template for path in (before, tmp_path / "soft")]
    assert told[0] == told[1] is not None


def test_what_no_scale_divides_is_refused(tmp_path: Path) -> None:
    capped = made("gemma2", tmp_path / "model", final_logit_softcapping=0.5)
    with pytest.raises(
        RunError, match=r"no scale of its last weights divides its logits by 4; use rollout\.temperature"
    ):
        soften(str(capped), tmp_path / "soft", 4.0)
    assert not (tmp_path / "soft").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "soft"
    for value in ("0", "-1", "nan", "inf"):
        assert main(["soften", "tiny:mab", str(out), "--temperature", value]) == 2
        assert "--temperature" in capsys.readouterr().err
    assert main(["soften", "tiny:mab", str(out), "--temperature", "3"]) == 0
    assert str(out) in capsys.readouterr().out
    expected = logits(tiny_path("mab")) / 3
    assert torch.allclose(logits(out), expected, atol=0.02 * expected.std().item())
    assert main(["soften", "tiny:mab", str(out), "--temperature", "3"]) == 2
    assert "exists already" in capsys.readouterr().err
