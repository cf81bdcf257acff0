"""Cuts files into pieces that are small enough to carry, and puts them together again, each under its SHA-256.

python tests/gpu/pieces.py split FILE [FILE ...] INTO       writes INTO/NAME.000, ... and INTO/pieces.json
python tests/gpu/pieces.py join FROM INTO                   writes the files of FROM/pieces.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

MOST = 60 * 2**20
"""Bytes of a piece."""

LIST = "pieces.json"


def split(files: list[Path], into: Path, most: int = MOST) -> dict[str, list[dict[str, str]]]:
    """Write the pieces of ``files`` and their list; returns the list: name of a file -> its pieces in order."""
    into.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, str]]] = {}
    for file in files:
        found[file.name] = []
        with file.open("rb") as stream:
            while (piece := stream.read(most)) or not found[file.name]:
                name = f"{file.name}.{len(found[file.name]):03}"
                (into / name).write_bytes(piece)
                found[file.name].append({"piece": name, "sha256": hashlib.sha256(piece).hexdigest()})
    (into / LIST).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def join(source: Path, into: Path) -> list[Path]:
    """Write the files of the list in ``source``. Raises ``ValueError`` with all pieces that are missing or changed."""
    wanted = json.loads((source / LIST).read_text(encoding="utf-8"))
    wrong = [
        entry["piece"]
        for pieces in wanted.values()
        for entry in pieces
        if not (source / entry["piece"]).is_file() or _sha256(source / entry["piece"]) != entry["sha256"]
    ]
    if wrong:
        raise ValueError(f"missing or changed: {', '.join(wrong)}: carry them again")
    into.mkdir(parents=True, exist_ok=True)
    for name, pieces in wanted.items():
        with (into / name).open("wb") as stream:
            for entry in pieces:
                stream.write((source / entry["piece"]).read_bytes())
    return [into / name for name in wanted]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cut = commands.add_parser("split")
    cut.add_argument("files", nargs="+", type=Path)
    cut.add_argument("into", type=Path)
    whole = commands.add_parser("join")
    whole.add_argument("source", type=Path)
    whole.add_argument("into", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "split":
        found = split(options.files, options.into)
        print(f"{len(found)} files in {sum(map(len, found.values()))} pieces")
        return 0
    try:
        print(*join(options.source, options.into), sep="\n")
    except ValueError as error:
        print(f"pieces: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
