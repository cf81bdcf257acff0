"""``python tests/benchmarks/bench.py [key=value ...]``: what verl and this project cost beside bare vLLM and PyTorch.

The arguments are those of a run; ``recipe=mab_tiny rollout.scenarios=16`` stands before them. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from iteration import PHASES, Iteration, measure

from rmft_verl.store.run_dir import describe_environment
from rmft_verl.types import RunError

if TYPE_CHECKING:
    from yardsticks import Work

    from rmft_verl.setup.cost import Work as Planned
    from rmft_verl.setup.prepare import Prepared

DEFAULTS = ["recipe=mab_tiny", "rollout.scenarios=16"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--repeats", type=int, default=3, help="measured iterations, after one that warms up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    options = parser.parse_intermixed_args()
    load = os.getloadavg()[0]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            arguments = [*DEFAULTS, *options.overrides]
            prepared, startup, iterations = measure(arguments, options.repeats, Path(scratch))
    except RunError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    from yardsticks import generate_offline, train_bare  # imports torch, which is part of the start-up measured above

    generated, trained = generate_offline(prepared, iterations), train_bare(prepared, iterations)
    for ours, rollout, update in zip(iterations, generated, trained, strict=True):
        assert rollout.tokens == ours.sampled_tokens, f"{rollout.tokens} tokens sampled, not {ours.sampled_tokens}"
        assert update.tokens == ours.trained_tokens, f"{update.tokens} tokens trained, not {ours.trained_tokens}"
    measured = iterations[1:]
    table = compare(measured, generated[1:], trained[1:])
    shares = shares_of_an_iteration(measured)
    predicted = against_the_plan(prepared, measured)
    print(f"{' '.join(arguments)} on {prepared.kind}, {os.cpu_count()} cores, load {load:.1f} before the start")
    print(
        f"{options.repeats} iterations of {len(measured[0].played)} dialogues after a warm-up; median [least, most]\n"
    )
    print("\n".join([*comparison_lines(table), "", *share_lines(shares, startup), *predicted_lines(predicted)]))
    if options.json:
        content = {
            "environment": describe_environment(),
            "arguments": arguments,
            "load": load,
            "startup_seconds": startup,
            "iterations": [ours.seconds for ours in measured],
            "phases": table,
            "shares": shares,
            "predicted": predicted,
            "yardsticks": {"rollout": [asdict(w) for w in generated[1:]], "update": [asdict(w) for w in trained[1:]]},
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def compare(measured: list[Iteration], generated: list[Work], trained: list[Work]) -> dict[str, dict[str, list[float]]]:
    """By phase: tokens, both speeds in tokens per second, and their ratio, one number an iteration each."""
    table: dict[str, dict[str, list[float]]] = {}
    for phase, yardstick in (("rollout", generated), ("update", trained)):
        tokens = [work.tokens for work in yardstick]
        ours = [n / iteration.seconds[phase] for n, iteration in zip(tokens, measured, strict=True)]
        theirs = [work.tokens / work.seconds for work in yardstick]
        ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
        table[phase] = {"tokens": [float(n) for n in tokens], "ours": ours, "yardstick": theirs, "ratio": ratio}
    return table


def shares_of_an_iteration(measured: list[Iteration]) -> dict[str, list[float]]:
    """Each phase's share of its iteration, and under ``seconds`` the length of the iterations."""
    lengths = [sum(iteration.seconds.values()) for iteration in measured]
    shares = {
        phase: [iteration.seconds[phase] / length for iteration, length in zip(measured, lengths, strict=True)]
        for phase in PHASES
    }
    return {"seconds": lengths} | shares


def against_the_plan(prepared: Prepared, measured: list[Iteration]) -> dict[str, dict[str, list[float]]]:
    """By phase: the seconds that the plan's cost model predicts for the tokens there were, and the measured ones.
    Nothing for a model of unknown shape.
    """
    from rmft_verl.setup.cost import machines, phase_seconds
    from rmft_verl.setup.fit import card_gib
    from rmft_verl.setup.memory import use_of

    use = use_of(prepared)
    if use is None:
        return {}
    machine, at_once = machines(prepared, card_gib(prepared.config))[0], prepared.config.hardware.max_num_seqs
    each = [phase_seconds(work_done(prepared, iteration), use, machine, at_once) for iteration in measured]
    return {
        phase: {"predicted": [s[phase] for s in each], "measured": [i.seconds[phase] for i in measured]}
        for phase in each[0]
    }


def work_done(prepared: Prepared, iteration: Iteration) -> Planned:
    """The tokens of an iteration as the cost model counts them."""
    from rmft_verl.algo import METHODS
    from rmft_verl.setup.cost import Work as Planned

    update, dialogues = prepared.config.update, len(iteration.played)
    replies = prepared.budget.replies
    prompt = float(np.mean([tokens.sampled_N.argmax() for tokens in iteration.played]))
    told = sum(len(tokens.ids_N) for tokens in iteration.played) - iteration.sampled_tokens
    return Planned(
        dialogues=dialogues,
        replies=replies,
        prompt=prompt,
        observed=told / dialogues - prompt,
        reply=iteration.sampled_tokens / dialogues / replies,
        shared=prepared.config.rollout.rollouts,
        trained=len(iteration.trained) * update.epochs,
        steps=round(len(iteration.trained) / iteration.batch) * update.epochs,
        again=METHODS[update.loss].needs_old / update.epochs,
    )


def predicted_lines(predicted: dict[str, dict[str, list[float]]]) -> Iterable[str]:
    """The plan's cost model beside what was measured."""
    if predicted:
        yield "seconds that the plan (dry_run=true) predicts for these tokens, and their ratio to the measured ones"
    for phase, row in predicted.items():
        ratios = [p / m for p, m in zip(row["predicted"], row["measured"], strict=True)]
        yield f"  {phase:8} {np.median(row['predicted']):8.1f} s  {spread(ratios, '.2f')}"


def comparison_lines(table: dict[str, dict[str, list[float]]]) -> Iterable[str]:
    """The table of speeds."""
    names = {"rollout": "vLLM's offline generate", "update": "bare PyTorch loop"}
    yield f"{'phase':8} {'tokens':>8}  {'tokens/s':24} {'yardstick, tokens/s':24} {'ratio':20} yardstick"
    for phase, row in table.items():
        ours, theirs, ratio = (spread(row[key], form) for key, form in _FORMS)
        yield f"{phase:8} {np.median(row['tokens']):8,.0f}  {ours:24} {theirs:24} {ratio:20} {names[phase]}"


_FORMS = (("ours", ",.0f"), ("yardstick", ",.0f"), ("ratio", ".2f"))


def share_lines(shares: dict[str, list[float]], startup: dict[str, float]) -> Iterable[str]:
    """Where an iteration's time goes, and what the start-up is in iterations."""
    yield f"an iteration takes {spread(shares['seconds'], '.1f')} s, of which"
    for phase in PHASES:
        yield f"  {phase:8} {spread(shares[phase], '.1%')}"
    total = sum(startup.values())
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in startup.items())
    yield f"start-up {total:.1f} s ({parts}): {total / np.median(shares['seconds']):.0%} of an iteration, once a run"


def spread(values: list[float], form: str) -> str:
    """Median, least and most."""
    low, middle, high = (format(value, form) for value in np.quantile(np.array(values), [0, 0.5, 1]))
    return f"{middle} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main())
