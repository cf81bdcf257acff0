"""Reads tokens of a stored dialogue as text, with the tokenizer that a run has left on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def token_reader(*folders: Path) -> Callable[[Sequence[int]], str] | None:
    """Token ids to text, as replies are read, by the tokenizer of the first folder that has one; None if none has.

    Nothing is downloaded.
    """
    found = next((folder for folder in folders if (folder / "tokenizer_config.json").is_file()), None)
    if found is None:
        return None
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(found), local_files_only=True, clean_up_tokenization_spaces=False)
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))
