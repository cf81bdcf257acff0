"""The command line of ``rmft-verl compare``: train what is missing, read everything, write one table and one figure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rmft_verl.eval.compare import curves, table
from rmft_verl.eval.compare.arms import make_arms
from rmft_verl.eval.compare.bases import Bases, further_plays, luck_of_the_base, with_bases, write_bases
from rmft_verl.eval.compare.evidence import packed, unpacked, write_evidence
from rmft_verl.eval.compare.figure import draw
from rmft_verl.eval.compare.habits import Habits, no_habits, with_habits
from rmft_verl.eval.compare.numbers import Arms, Comparison, compare, notes
from rmft_verl.eval.compare.ood import Examination, examine
from rmft_verl.eval.compare.results import Outcome, read
from rmft_verl.eval.compare.runs import Planned, plan, train
from rmft_verl.eval.metrics import few_scenarios
from rmft_verl.eval.options import check_overrides
from rmft_verl.eval.targets import parse_targets
from rmft_verl.store.places import check_place
from rmft_verl.store.run_dir import write_text
from rmft_verl.store.tracking import warn
from rmft_verl.types import RunError


def add_compare(commands: Any, habits: Habits = no_habits) -> None:
    """Add ``compare`` to the command line; ``commands`` is what ``add_subparsers`` returned."""
    text = "Recipes or runs over seeds: one table, one figure. Run again, it trains only what is missing."
    parser = commands.add_parser("compare", help="recipes or runs over seeds: one table, one figure", description=text)
    parser.set_defaults(call=partial(command, habits=habits))
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help="an arm that is labeled by its recipe")
    several: dict[str, Any] = {"nargs": "+", "action": "append", "default": []}
    add("--arm", **several, metavar=("LABEL RECIPE", "key=value"), help="a recipe with a label and its own overrides")
    add("--run", **several, dest="runs", metavar=("LABEL", "RUN"), help="finished runs, one a seed")
    extended: dict[str, Any] = {"nargs": "+", "action": "extend", "default": [], "metavar": "key=value"}
    add("--set", **extended, dest="overrides", help="for every recipe")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="S", help="of each recipe (0 1 2)")
    add("--root", type=Path, default=Path("runs/compare"), metavar="DIR", help="of the runs (runs/compare)")
    add("--out", type=Path, metavar="DIR", help="of the table and the figure (ROOT/report)")
    text = "play the base N times in each held-out scenario, if that has not been done"
    add("--base-plays", type=int, default=0, metavar="N", help=text)
    add("--ood", nargs="+", default=[], metavar="TARGET", help="evaluate base and trained models there too")
    add("--ood-scenarios", type=int, default=200, metavar="N", help="scenarios of each target (200)")
    add("--ood-override", nargs="+", default=[], metavar="key=value", help="for these evaluations: model.context=4096")
    add("--report-only", action="store_true", help="read the finished runs, train and evaluate nothing")


def command(options: argparse.Namespace, habits: Habits = no_habits) -> int:
    """Returns the exit status: 0, or 1 if a run or an evaluation failed (the table holds the others).

    Raises ``RunError`` before anything is trained if an arm, a target or a configuration cannot be used.
    """
    if min(*options.seeds, options.base_plays) < 0 or options.ood_scenarios < 1:
        raise RunError("--seeds and --base-plays must be at least 0 and --ood-scenarios at least 1")
    check_overrides(options.ood_override)
    out = options.out or options.root / "report"
    for folder in (out, options.root):
        check_place(folder, folder=True)
    with unpacked(options.root):
        return _compared(options, out, habits)


def _compared(options: argparse.Namespace, out: Path, habits: Habits) -> int:
    arms = make_arms(options.recipes, options.arm, options.runs, options.overrides)
    planned = plan(arms, list(dict.fromkeys(options.seeds)), options.root, only_read=options.report_only)
    folders = dict.fromkeys(folder for run in planned for folder in run.env_dirs)
    targets = parse_targets(options.ood, {}, list(folders))
    try:
        failed = [] if options.report_only else train(planned)
        finished = outcomes(planned)
        bases, failed_bases = further_plays(finished, options.root, 0 if options.report_only else options.base_plays)
        failed += failed_bases
        asked = Examination(targets, options.ood_scenarios, options.ood_override, options.report_only)
        elsewhere, failed_there = examine(finished, asked) if targets else ([], [])
        failed += failed_there
    except KeyboardInterrupt:
        raise RunError("stopped; run the same command again to train what is missing") from None
    arms_on_bases = with_bases(finished, bases)
    comparisons = with_habits(compare(arms_on_bases), finished, habits)
    few = few_scenarios([options.ood_scenarios] if targets else [])
    told = [*notes(finished, comparisons), luck_of_the_base(arms_on_bases)]
    told.append(f"{', '.join(options.ood)}: {few}" if few else "")
    remarks = [line for line in told if line] + failed
    write(out, finished, bases, [*comparisons, *elsewhere], remarks)
    write_text(out / "course.md", curves.markdown(arms_on_bases))
    draw(arms_on_bases, comparisons, out / "regret.png")
    print(table.text([*comparisons, *elsewhere], remarks), end="")
    print(f"table, figure and what they rest on: {out}")
    return 1 if failed else 0


def outcomes(planned: Sequence[Planned]) -> Arms:
    """Label -> its finished runs by seed, in the order of the arms. Raises ``RunError`` if there is none."""
    found: dict[str, list[Outcome]] = {label: [] for label in dict.fromkeys(run.arm.label for run in planned)}
    for run in planned:
        if run.finished:
            found[run.arm.label].append(read(run))
        else:
            warn(f"{run.arm.label}, seed {run.seed}: {run.path} has not finished; the table is without it")
    arms = {label: sorted(runs, key=lambda run: run.seed) for label, runs in found.items() if runs}
    if not arms:
        raise RunError("nothing to compare: no run has finished")
    return arms


def write(out: Path, arms: Arms, bases: Bases, comparisons: Sequence[Comparison], remarks: Sequence[str]) -> None:
    """Write table.txt, table.md, table.csv, numbers.json, and runs.zip with the evidence."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "table.txt", table.text(comparisons, remarks))
    write_text(out / "table.md", table.markdown(comparisons, remarks))
    write_text(out / "table.csv", table.csv_text(comparisons))
    write_text(out / "numbers.json", json.dumps(table.numbers(comparisons, remarks), indent=2) + "\n")
    with packed(out / "runs") as folder:
        for run in (run for runs in arms.values() for run in runs):
            write_evidence(run, folder)
        write_bases(bases, folder)
