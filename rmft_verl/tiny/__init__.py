"""Tiny base models that ship with the package: believable weak decision-makers that a laptop can train.

``python -m rmft_verl.tiny mab OUT_DIR`` builds one from scratch; nothing here imports torch before that.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("mab", "trio")
"""The shipped models: ``mab`` speaks that environment's dialogues, ``trio`` those of mab, nsmab and fol."""


def path(name: str) -> Path:
    """Directory of a shipped model, in Hugging Face layout; ``ValueError`` listing the known ones."""
    if name not in NAMES:
        raise ValueError(f"no tiny model is called {name!r}: choose from {', '.join(NAMES)}.")
    return Path(__file__).resolve().parent / name
