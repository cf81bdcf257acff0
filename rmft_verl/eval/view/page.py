"""Puts runs, template, style and script together into one file."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rmft_verl.eval.table import CAPTION
from rmft_verl.eval.view.contents import PHASES, Source, fill
from rmft_verl.eval.view.shelf import Shelf, embedded, rounded
from rmft_verl.eval.view.words import in_words
from rmft_verl.store.run_dir import write_text

MOST_BYTES = 5_000_000
"""Largest page. Dialogues fill what the rest leaves."""

SMALL = 400_000
"""Bytes of that which a run's figures, table and configuration, and the page's own files, may take together."""

HERE = Path(__file__).parent

PANELS: dict[str, tuple[str, dict[str, str]]] = {
    "normalized regret": (
        "0 oracle, 1 uniform play",
        {
            "held-out": "heldout/normalized_regret",
            "kept": "kept/normalized_regret",
            "rollouts": "rollout/normalized_regret",
        },
    ),
    "suffix failures": (
        "share without a best arm in the second half",
        {"held-out": "heldout/suffix_failure", "kept": "kept/suffix_failure", "rollouts": "rollout/suffix_failure"},
    ),
    "K × MinFrac": (
        "1 if all arms are chosen equally often",
        {"held-out": "heldout/min_fraction", "kept": "kept/min_fraction", "rollouts": "rollout/min_fraction"},
    ),
    "invalid replies": (
        "share that names no action",
        {"held-out": "heldout/invalid_rate", "rollouts": "rollout/invalid_rate"},
    ),
}
"""Title of a panel -> what its values are, and the key of metrics.jsonl of each line."""

COUNTED: dict[str, tuple[str, str]] = {
    "entropy of the first action": ("by place in the list; 1 even, 0 always the same", "first_action_entropy"),
    "tokens a reply": ("sampled or forced", "reply_tokens"),
}
"""Title of a panel -> what its values are, and the name in the rows of ``fill``."""

LINES = {"eval": "held-out", "train": "rollouts"}


class Page:
    """A page that grows run by run. ``add`` reads all that it needs, so a run's environment may be gone afterwards."""

    def __init__(self, runs: int = 1) -> None:
        self._left = runs
        self._shelf = Shelf()
        self._runs: list[dict[str, Any]] = []

    def add(
        self,
        source: Source,
        rows: Sequence[Mapping[str, Any]],
        table: Sequence[Mapping[str, Any]],
        verdict: str,
    ) -> None:
        """Add a run.

        ``rows``: of its metrics.jsonl. ``table``: ``EvalTable.to_json``. ``verdict``: one line.
        """
        room = MOST_BYTES - SMALL - self._shelf.size
        sets = fill(self._shelf, source, len(self._runs), self._shelf.size + room // self._left)
        self._left -= 1
        directory = source.directory
        started = (directory.path / "environment.json").exists()  # what compare packs of a run does not say
        run = {
            "name": directory.path.name,
            "date": directory.date if started else "",
            "verdict": verdict,
            "words": in_words(source.config),
            "config": directory.config.read_text(encoding="utf-8"),
            "packages": directory.read_packages() if started else {},
            "panels": panels(rows, sets),
            "table": [dict(row) for row in table],
            "sets": sets,
            "left": sum(len(directory.recorded(phase)) for phase in PHASES) - len(sets),
        }
        self._runs.append(run)

    def write(self, path: Path) -> None:
        """Write the page whole or not at all."""
        data = {
            "runs": self._runs,
            "caption": CAPTION,
            "shared": self._shelf.shared,
            "dialogues": self._shelf.dialogues,
        }
        style = (HERE / "page.css").read_text(encoding="utf-8")
        script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("rows.js", "figures.js", "page.js"))
        filled = {
            "TITLE": html.escape(" and ".join(run["name"] for run in self._runs)),
            "POLICY": f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
            "STYLE": style,
            "DATA": embedded(data),
            "SCRIPT": script,
        }
        text = (HERE / "page.html").read_text(encoding="utf-8")
        before, *parts = text.split("{{")  # one pass: what is put in is not searched for further names
        write_text(
            path, before + "".join(filled[name] + rest for name, rest in (part.split("}}", 1) for part in parts))
        )


def panels(rows: Sequence[Mapping[str, Any]], sets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The panels that have a value: title, note, and lines of [iteration, value, and an interval if it has one]."""
    found: list[dict[str, Any]] = []
    for title, (note, keys) in PANELS.items():
        lines = {name: _points(rows, key) for name, key in keys.items()}
        found.append({"title": title, "note": note, "lines": lines})
    for title, (note, key) in COUNTED.items():
        lines = {name: [[row["n"], row[key]] for row in sets if row["phase"] == p] for p, name in LINES.items()}
        found.append({"title": title, "note": note, "lines": lines})
    for panel in found:
        lines = {name: [point for point in points if point[1] is not None] for name, points in panel["lines"].items()}
        panel["lines"] = {name: points for name, points in lines.items() if points}
    return [panel for panel in found if panel["lines"]]


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[list[Any]]:
    each = [[row["iteration"], *(rounded(row.get(f"{key}{end}")) for end in ("", "_low", "_high"))] for row in rows]
    return [point if None not in point else point[:2] for point in each]


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
