"""The page in a headless Chromium: ``RMFT_CHROMIUM`` names its program where it is not on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_view import HOSTILE, MILLION, REST, read, said, small

from rmft_verl.store.trajectory_file import read_kept
from rmft_verl.train.view import view

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("RMFT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


class Seen(HTMLParser):
    """The text of the element with an id, the page's title, and the tags that are not the page's own."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.text, self.title, self.tags = "", "", set()
        self._wanted, self._depth, self._open = wanted, 0, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.add(tag)
        if tag not in ("input", "meta", "img") and (self._depth or dict(attrs).get("id") == self._wanted):
            self._depth += 1

    def handle_endtag(self, tag: str) -> None:
        self._depth -= self._depth > 0
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.text += data if self._depth else ""
        self.title += data if self._open == "title" and not self._depth and not self.title else ""


def seen(file: Path, address: str, element: str) -> Seen:
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={file.parent / 'profile'}",
        "--dump-dom",
    ]
    command = [str(CHROMIUM), *options, f"{file.as_uri()}#{address}"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120)
    found = Seen(element)
    found.feed(done.stdout)
    return found


def test_a_hostile_reply_is_text(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    said(run, HOSTILE + "A" * MILLION)
    file = view([run.path])
    assert seen(file, "valid=no", "list").text.startswith("1 of 60 dialogues")
    (place,) = [i for i, one in enumerate(read(file)["dialogues"]) if not one["valid"]]
    page = seen(file, f"open={place}", "shown")
    assert page.title == "run" and "img" not in page.tags
    assert HOSTILE[:60] in page.text
    assert "[U+001B][31mred[U+001B][0m [U+202E]esrever[U+202C] [U+2028][U+2029] [U+D800] שלום" in page.text
    assert REST in page.text


def test_every_filter_of_the_address_counts(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    kept = sum(len(read_kept(run.trajectories("train", n)) or ()) for n in (1, 2))
    file = view([run.path])
    for address, count in (("", 60), ("set=train+1", 12), ("kept=yes", kept), ("kept=no", 24 - kept), ("valid=no", 0)):
        assert seen(file, address, "list").text.startswith(f"{count} of 60 dialogues")
    dialogues = read(file)["dialogues"]
    low = sum(one["regret"] <= 4 for one in dialogues)
    high = sum(one["score"] is not None and one["score"] >= 4 for one in dialogues)
    assert 0 < low < 60 and 0 < high < 24
    assert seen(file, "regretTo=4", "list").text.startswith(f"{low} of")
    assert seen(file, "scoreFrom=4", "list").text.startswith(f"{high} of")


def test_two_runs_stand_side_by_side(tmp_path: Path) -> None:
    one, other = small(tmp_path / "one"), small(tmp_path / "other", "seed=1")
    file = view([one.path, other.path])
    page = seen(file, "open=0", "shown")
    assert page.text.count("After the game") == 1 and "2: other, held-out, base" in page.text
    again = seen(file, "open=0&beside=60", "shown")
    assert again.text.count("After the game") == 2 and "ucb1, same draws" in again.text
    assert seen(file, "", "panels").text.count("run 2, held-out") >= 5
