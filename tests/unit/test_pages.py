"""The pages in docs/ that are made from code, and every link of every page."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(pages.PAGES))
def test_a_made_page_is_what_the_code_makes(name: str) -> None:
    """Make it again with ``python tests/experiments/pages.py``."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages.PAGES[name]()


def test_the_matrix_says_what_the_tests_do() -> None:
    known = pages.statuses()
    assert known["mab_tiny+grpo"] == known["mab_smollm2"] == known["fol_numeric+dpt"] == known["theory_ftrl"] == "CI"
    assert known["nsmab_tiny+continuation"] == known["fol_tiny"] == "once"
    assert known["cb_qwen3"] == known["mab_qwen3+dpo"] == "plan"
    assert not {"mab_tiny+dpt", "mab_numeric+regret_loss"} & set(known)  # named by tests that see them refused


def test_a_recipe_that_no_test_trains_is_not_said_to_be_trained(tmp_path: Path) -> None:
    file = tmp_path / "test_some.py"
    file.write_text(
        "import pytest\nNAMES = ['dpo', 'grpo']\n"
        "@pytest.mark.parametrize('method', NAMES)\n"
        "def test_a_method_trains(method): run(f'recipe=mab_tiny+{method}')\n"
        "def test_refused(): run('recipe=fol_tiny')\n"
    )
    assert pages.recipes_of(file, "trains") == {"mab_tiny+dpo", "mab_tiny+grpo"}


def prose(path: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"^ {4}.*$|`[^`\n]*`", "", text, flags=re.M)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's toc makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    words = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in re.findall(r"^#+ (.*)$", text, re.M)]
    return {re.sub(r"[-\s]+", "-", word) for word in words}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two: `three`\n[a](#one-two-three) [b](#four)\n    [code](x)\n")
    assert anchors(page) == {"one-two-three"}
    with pytest.raises(AssertionError, match="#four"):
        test_every_link_leads_somewhere(page)


def test_the_site_has_every_page_once() -> None:
    def listed(nav: object) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        parts = nav.values() if isinstance(nav, dict) else nav
        return [name for part in parts for name in listed(part)]  # type: ignore[attr-defined]

    names = listed(SITE["nav"])
    assert len(names) == len(set(names))
    assert {f"{name}" for name in names} == {path.name for path in (ROOT / "docs").glob("*.md")}
