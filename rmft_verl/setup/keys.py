"""Every key of the configuration with its default and meaning, read from ``config.py``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rmft_verl import config


@dataclass(frozen=True)
class Key:
    """A key as it is typed on the command line."""

    name: str
    default: str
    meaning: str


def keys() -> list[Key]:
    """All keys, in the order of ``config.py``; those of a section where it stands."""
    tree = ast.parse(inspect.getsource(config))
    return list(_keys({node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}, "Config", ""))


def _keys(classes: dict[str, ast.ClassDef], name: str, prefix: str) -> Iterator[Key]:
    body = classes[name].body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            continue
        kind, key = ast.unparse(node.annotation), f"{prefix}{node.target.id}"
        if kind in classes:
            yield from _keys(classes, kind, f"{key}.")
            continue
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        meaning = " ".join(str(after.value.value).split()) if documented else ""  # type: ignore[union-attr]
        yield Key(key, _typed(node.value), meaning)


def _typed(value: ast.expr) -> str:
    """A default as one would type it."""
    if isinstance(value, ast.Call):  # field(default_factory=...)
        return "{}" if ast.unparse(value.keywords[0].value) == "dict" else "[]"
    found = ast.literal_eval(value)
    return (
        {None: "null", True: "true", False: "false"}[found] if found is None or isinstance(found, bool) else str(found)
    )


def as_lines(chosen: Sequence[Key], width: int = 100) -> list[str]:
    """``key=default``, and below it the meaning."""
    lines = []
    for key in chosen:
        lines += [f"{key.name}={key.default}", *textwrap.wrap(f"    {key.meaning}", width, subsequent_indent="    ")]
    return lines


def as_markdown(chosen: Sequence[Key]) -> str:
    """The page docs/configuration.md."""
    rows = [f"| `{key.name}` | {f'`{key.default}`' if key.default else ''} | {_cell(key.meaning)} |" for key in chosen]
    head = (
        "# Configuration\n\n`python -m rmft_verl.main recipe=NAME key=value ...`; `rmft-verl config` prints this list."
    )
    return "\n".join([head, "", "| key | default | meaning |", "|---|---|---|", *rows, ""])


def _cell(meaning: str) -> str:
    return meaning.replace("``", "`").replace("|", "\\|")
