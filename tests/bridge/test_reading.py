from __future__ import annotations

from pathlib import Path

from rmft_verl.bridge.sampling.reading import token_reader
from rmft_verl.setup.models import tiny_path


def test_tokens_are_read_by_the_first_tokenizer_on_disk(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_path("mab")))
    text = "Take what looks best: wren 0/0.\nAction: wren"
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    read = token_reader(tmp_path, tiny_path("mab"))
    assert read is not None and read(ids) == text
    assert "".join(read([token]) for token in ids) == text
    assert token_reader(tmp_path, tmp_path / "no") is None
