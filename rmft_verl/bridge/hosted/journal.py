"""RUN/hosted: what a run has asked a provider for, on file before anything waits for it.

update_NNN.jsonl   the file that update NNN trains on      usage.json    tokens that the chat endpoint has counted
update_NNN.json    its upload, its job and its model       update_NNN.failed_K.json   a job that came to nothing
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.bridge.hosted.settings import Hosted
from rmft_verl.store.places import RunDirError
from rmft_verl.store.run_dir import write_text

LOST = ("failed", "cancelled")
"""States of a job that gives no model."""


@dataclass(frozen=True)
class Entry:
    """One update."""

    update: int
    digest: str
    """Of the dialogues, the base and the hyperparameters: a job is resumed only for the same ones."""
    tag: str
    """Random; names the uploaded file, and so finds file and job again if their ids never arrived."""
    base: str
    examples: int
    tokens: int
    """Estimate of the trained tokens, epochs included."""
    file: str = ""
    job: str = ""
    status: str = "new"
    model: str = ""
    trained: int | None = None
    """Trained tokens that the provider has counted."""
    loss: float | None = None
    """Training loss at the job's last checkpoint, if the provider reports it."""

    @property
    def paid(self) -> int:
        """Trained tokens as far as is known. A job that failed trained none, unless the provider has counted some."""
        if self.trained is not None:
            return self.trained
        return self.tokens if self.job and self.status != "failed" else 0


@dataclass(frozen=True)
class Tally:
    """Tokens that the endpoint has counted, and the sums of squares that give tokens per character and per message."""

    requests: int = 0
    prompt: int = 0
    reply: int = 0
    chars_chars: float = 0.0
    chars_messages: float = 0.0
    messages_messages: float = 0.0
    chars_tokens: float = 0.0
    messages_tokens: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    @classmethod
    def of(cls, texts: Sequence[str], prompt: int, reply: int) -> Tally:
        """One answered request: the texts of its messages, the reply included."""
        chars, messages, tokens = float(sum(map(len, texts))), float(len(texts)), float(prompt + reply)
        return cls(1, prompt, reply, chars**2, chars * messages, messages**2, chars * tokens, messages * tokens)

    def tokens(self, texts: Sequence[str]) -> float:
        """Estimate for a dialogue of these texts: as the endpoint has counted, or at three characters a token."""
        chars, messages = sum(map(len, texts)), len(texts)
        if not self.messages_tokens:
            return chars / 3 + 10 * messages
        squares = np.array([[self.chars_chars, self.chars_messages], [self.chars_messages, self.messages_messages]])
        per_char, per_message = np.linalg.lstsq(squares, [self.chars_tokens, self.messages_tokens], rcond=None)[0]
        return max(0.0, float(per_char * chars + per_message * messages))


class Journal:
    """The folder ``hosted`` of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.tally = Tally(**_read(folder / "usage.json")) if (folder / "usage.json").exists() else Tally()

    def data(self, update: int) -> Path:
        return self.folder / f"update_{update:03d}.jsonl"

    def path(self, update: int) -> Path:
        return self.folder / f"update_{update:03d}.json"

    def entry(self, update: int) -> Entry | None:
        return Entry(**_read(self.path(update))) if self.path(update).exists() else None

    def entries(self) -> list[Entry]:
        """All of them, those that came to nothing included."""
        return [Entry(**_read(path)) for path in sorted(self.folder.glob("update_*.json"))]

    def write(self, entry: Entry) -> Entry:
        write_text(self.path(entry.update), json.dumps(dataclasses.asdict(entry), indent=2) + "\n")
        return entry

    def set_aside(self, entry: Entry) -> None:
        """Keep an entry that came to nothing beside the one that follows."""
        k = len(list(self.folder.glob(f"update_{entry.update:03d}.failed_*.json"))) + 1
        self.path(entry.update).rename(self.path(entry.update).with_suffix(f".failed_{k}.json"))

    def count(self, tally: Tally) -> None:
        self.tally += tally
        write_text(self.folder / "usage.json", json.dumps(dataclasses.asdict(self.tally)) + "\n")

    def spent(self, prices: Hosted) -> float:
        """Dollars so far; a job that is running counts as estimated."""
        trained = sum(entry.paid for entry in self.entries())
        return prices.dollars(self.tally.prompt, self.tally.reply, trained)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunDirError(f"{path} cannot be read ({error}): restore it, it says what was paid for") from error
