"""Comparisons -> text, markdown, CSV and JSON (docs/compare.md defines every column)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rmft_verl.eval.compare.numbers import Change, Comparison, Line, spread
from rmft_verl.eval.text import DASH, as_text, interval, number, plain_table

Cell = Callable[[Line], str]


# ---- for people -----------------------------------------------------------------------------------------------------


def text(comparisons: Sequence[Comparison], remarks: Sequence[str]) -> str:
    """Text for a terminal, two tables per environment: regret with changes, then behavior and budget."""
    tables: list[Any] = []
    if len(comparisons) > 1:
        header, *rows = _overview(comparisons)
        tables.append(plain_table(header, title="All games", title_justify="left"))
        for row in rows:
            tables[0].add_row(*row)
    for one in comparisons:
        for columns in (_reached(one), _played()):
            table = plain_table(["player", *columns], title=_title(one, comparisons), title_justify="left")
            for line in one.lines:
                table.add_row(line.name, *(cell(line) for cell in columns.values()))
            tables.append(table)
    return as_text(*tables, *_caption(), *remarks, width=1000)


def markdown(comparisons: Sequence[Comparison], remarks: Sequence[str]) -> str:
    """One Markdown table per environment, behind one of all if there are several."""
    lines: list[str] = []
    if len(comparisons) > 1:
        header, *rows = _overview(comparisons)
        lines = ["All games:", "", _row(header), "|---" * len(header) + "|", *map(_row, rows), ""]
    for one in comparisons:
        columns = _reached(one) | _played()
        title = _title(one, comparisons)
        lines += [f"{title}:", ""] if title else []
        lines += [_row(["player", *columns]), "|---" * (1 + len(columns)) + "|"]
        lines += [_row([line.name, *(cell(line) for cell in columns.values())]) for line in one.lines]
        lines.append("")
    return "\n".join([*lines, *(f"- {remark}" for remark in (*_caption(), *remarks))]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _overview(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """A header, then a row per game: the regret of bases and arms, with its change, and the best reference."""
    asked = [line for one in comparisons for line in one.lines if line.kind != "reference"]
    names = list(dict.fromkeys(line.name for line in asked))
    rows = [["game", *names, "best reference"]]
    for one in comparisons:
        lines = {line.name: line for line in one.lines}
        cells = [_in_short(lines[name]) if name in lines else DASH for name in names]
        known = [line for line in one.lines if line.kind == "reference" and not math.isnan(_regret(line))]
        best = min(known, key=_regret, default=None)
        rows.append([one.environment, *cells, f"{best.name} {_regret(best):.3f}" if best else DASH])
    return rows


def _in_short(line: Line) -> str:
    change = _change(line.against_base, seeds=False)
    return number(_regret(line), ".3f") + (f" ({change})" if change != DASH else "")


def _regret(line: Line) -> float:
    return line.row.normalized_regret.value


def _title(one: Comparison, comparisons: Sequence[Comparison]) -> str | None:
    return f"On {one.environment}" if len(comparisons) > 1 else None


def _caption() -> tuple[str, ...]:
    return (
        "normalized regret on held-out scenarios: 0 = oracle, 1 = uniform play; 95 % bootstrap interval over scenarios",
        "changes: 95 % interval over scenarios and seeds; p, Holm: of no change, adjusted for all arms of the column",
        "±: standard deviation over seeds; tokens, minutes: a run",
    )


def _reached(one: Comparison) -> dict[str, Cell]:
    columns: dict[str, Cell] = {
        "regret [95 %]": lambda line: interval(*line.row.normalized_regret),
        "±": lambda line: number(spread(line.by_seed), ".3f"),
        "against base [95 %] (seeds)": lambda line: _change(line.against_base),
    }
    if sum(line.kind == "arm" for line in one.lines) > 1:
        columns["p, Holm"] = lambda line: _p(line.against_base)
        unpaired = "" if one.paired else ", unpaired"
        columns[f"against {one.first} [95 %{unpaired}]"] = lambda line: _change(line.against_first, seeds=False)
        columns["p, Holm "] = lambda line: _p(line.against_first)  # a blank: two columns have this name
    return columns


def _played() -> dict[str, Cell]:
    return {
        "SuffFailFreq": lambda line: number(line.row.suffix_failure, ".3f"),
        "K×MinFrac": lambda line: number(line.row.min_fraction, ".3f"),
        "GreedyFrac": lambda line: number(line.row.greedy_fraction, ".3f"),
        "invalid": lambda line: number(line.row.invalid_rate, ".2%"),
        "optimism gap": lambda line: number(line.optimism_gap, "+.3f"),
        "sampled": lambda line: number(line.tokens_sampled, ",.0f"),
        "trained": lambda line: number(line.tokens_trained, ",.0f"),
        "minutes": lambda line: number(line.seconds / 60, ".1f"),
    }


def _change(change: Change | None, seeds: bool = True) -> str:
    if change is None or math.isnan(change.interval.value):
        return DASH
    form = "+.1%" if change.relative else "+.3f"
    value, low, high = (format(number, form) for number in change.interval)
    each = ", ".join(format(number, "+.0%" if change.relative else "+.2f") for number in change.by_seed)
    bounds = "" if math.isnan(change.interval.low) else f" [{low}, {high}]"
    return f"{value}{bounds}" + (f" ({each})" if seeds and each else "")


def _p(change: Change | None) -> str:
    if change is None or math.isnan(change.p_holm):
        return DASH
    return "<0.001" if change.p_holm < 0.001 else f"{change.p_holm:.3f}"


# ---- for programs ---------------------------------------------------------------------------------------------------


def numbers(comparisons: Sequence[Comparison], remarks: Sequence[str]) -> dict[str, Any]:
    """Plain JSON: environment -> its players; None where a number does not exist."""
    environments = {
        one.environment: {
            "first": one.first,
            "paired": one.paired,
            "players": {line.name: _line(line) for line in one.lines},
        }
        for one in comparisons
    }
    found: dict[str, Any] = _plain({"environments": environments, "remarks": list(remarks)})
    return found


def csv_text(comparisons: Sequence[Comparison]) -> str:
    """One line per player and environment; dots join nested names. Values per seed are in the JSON only."""
    rows = [
        {"environment": one.environment, "player": line.name} | _flat(_plain(_line(line)))
        for one in comparisons
        for line in one.lines
    ]
    out = io.StringIO()
    writer = csv.DictWriter(
        out, fieldnames=list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _line(line: Line) -> dict[str, Any]:
    play = line.row.to_json()
    del play["player"]
    return {
        "kind": line.kind,
        **play,
        "seeds": list(line.seeds),
        "by_seed": list(line.by_seed),
        "seed_sd": spread(line.by_seed),
        "against_base": _change_json(line.against_base),
        "against_first": _change_json(line.against_first),
        "optimism_gap": line.optimism_gap,
        "tokens_sampled": line.tokens_sampled,
        "tokens_trained": line.tokens_trained,
        "seconds": line.seconds,
    }


def _change_json(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    value, low, high = change.interval
    found: dict[str, Any] = {"relative": change.relative, "value": value, "low": low, "high": high}
    if change.over_scenarios is not None:
        found |= {"scenarios_low": change.over_scenarios.low, "scenarios_high": change.over_scenarios.high}
    found |= {"p": change.p, "p_holm": change.p_holm}
    return found | {"by_seed": list(change.by_seed), "seed_sd": change.spread}


def _plain(value: Any) -> Any:
    """Replace NaN by None at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            found[f"{prefix}{key}"] = value
    return found
