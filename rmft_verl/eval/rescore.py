"""``rmft-verl rescore``: what another rule would have kept of a run's stored rollouts. No model is queried."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.algo import METHODS
from rmft_verl.algo.scores import Scorer
from rmft_verl.algo.selection import GROUP_KEYS
from rmft_verl.config import FSDP_SIZE, Config
from rmft_verl.env import Env, make_generator
from rmft_verl.env.seeds import SELECTION
from rmft_verl.eval import metrics
from rmft_verl.eval.metrics import UNKNOWN, value_or
from rmft_verl.eval.text import DASH, as_text, plain_table
from rmft_verl.setup.env_checks import check_fit
from rmft_verl.setup.recipe import reload_config
from rmft_verl.store import env_copy
from rmft_verl.store.places import check_place
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.store.trajectory_file import read_kept, read_trajectories
from rmft_verl.types import RunError, Scored, Trajectory

SETTINGS = ("score", "further", "keep", "group_by", "threshold", "accept")
"""Keys of ``selection``."""


@dataclass(frozen=True)
class Rule:
    """A way to score the trajectories of a run and to select among them."""

    config: Config
    scorer: Scorer

    def ranks(self, played: Sequence[Trajectory], iteration: int) -> tuple[list[Scored], Sequence[int]]:
        """The scores and the positions of the kept trajectories, with the trainer's random draws of this iteration."""
        rng = np.random.default_rng([SELECTION, self.config.seed, iteration])
        scored = self.scorer(played, rng)
        failed = [trajectory for trajectory in played if trajectory.failed]
        return scored, METHODS[self.config.update.loss].batch(scored, failed, self.config, rng).kept


@dataclass(frozen=True)
class Kept:
    """The trajectories of one iteration, and which of them the old and the new rule keep."""

    played: list[Trajectory]
    then: set[int]
    now: set[int]
    """Positions among ``played``."""
    correlations: list[float]
    """Spearman's correlation of old and new scores, for each group in which both vary."""


def add_rescore(commands: Any) -> None:
    """Add ``rescore`` to the command line; ``commands`` is what ``add_subparsers`` returned."""
    text = "What another rule would have kept of a run's stored rollouts."
    parser = commands.add_parser("rescore", help="what another rule would have kept of a run", description=text)
    parser.set_defaults(call=command)
    parser.add_argument("directory", type=Path, metavar="RUN")
    parser.add_argument("setting", nargs="*", metavar="key=value", help=f"of selection: {', '.join(SETTINGS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")


def command(options: argparse.Namespace) -> None:
    """Print the table; raises ``RunError`` if the run cannot be read or the rule does not fit it."""
    if options.json is not None:
        check_place(options.json)
    rows = rescore(options.directory, options.setting)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.json, json.dumps(rows, indent=2) + "\n")
    print(text(rows), end="")


def rescore(path: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Both rules, one row per iteration and one row for all, as plain JSON.

    ``settings``: ``key=value`` of ``SETTINGS``. Omitted keys keep the run's values, but if the score changes, its
    options (``further``, ``threshold``) are reset. Raises ``RunError``.
    """
    run = RunDir.open(path)
    iterations = run.recorded("train")
    if not iterations:
        raise RunError(f"{path} holds no rollouts yet (trajectories/train_*.parquet)")
    stored = reload_config(run.config, ())
    with env_copy.as_begun(run.path, stored.env.name, stored.env_dirs) as env_class:
        then, now = _rules(run, stored, settings, env_class)
        kept = {n: _kept(run, n, then, now) for n in iterations}
    rows = [{"iteration": n, **_row([one])} for n, one in kept.items()]
    return {
        "then": _described(then),
        "now": _described(now),
        "iterations": rows,
        "total": _row(list(kept.values())),
    }


# ---- rules ----------------------------------------------------------------------------------------------------------


def _rules(run: RunDir, stored: Config, settings: Sequence[str], env_class: type[Env]) -> tuple[Rule, Rule]:
    given = {key: value for key, _, value in (word.partition("=") for word in settings)}
    for word in settings:
        key, equals, _ = word.partition("=")
        if not equals or key not in SETTINGS:
            raise RunError(f"{word!r}: write key=value with one of {', '.join(SETTINGS)}")
    fresh = [f"selection.{word}" for word in settings]
    if given.get("score", stored.selection.score) != stored.selection.score:
        fresh += [
            f"selection.{key}={value}" for key, value in (("further", 0), ("threshold", "null")) if key not in given
        ]
    # There is no update, so its limits on batch and hardware are lifted. grpo trains on all valid trajectories: for it
    # the question is what a selection would have kept.
    fresh += ["update.batch=1"]
    fresh += [f"hardware.{key}=1" for key in ("nodes", "gpus_per_node", "tensor_parallel")]
    fresh += [f"verl.{FSDP_SIZE}=1"]
    fresh += ["update.loss=sft", "update.credit=score"] if stored.update.loss == "grpo" else []
    return _rule(stored, env_class), _rule(reload_config(run.config, fresh), env_class)


def _rule(config: Config, env_class: type[Env]) -> Rule:
    check_fit(config, env_class)
    generator = make_generator(env_class, config.env.options)
    return Rule(config, Scorer(config.selection.score, generator, config.selection.further))


def _described(rule: Rule) -> dict[str, Any]:
    selection = {key: vars(rule.config.selection)[key] for key in SETTINGS}
    return selection | {"loss": rule.config.update.loss}


# ---- numbers --------------------------------------------------------------------------------------------------------


def _kept(run: RunDir, iteration: int, then: Rule, now: Rule) -> Kept:
    path = run.trajectories("train", iteration)
    played, kept_then = read_trajectories(path), read_kept(path)
    if kept_then is None:
        raise RunError(f"{path} does not say what was kept")
    if len(kept_then) == len(played) and _chooses(then.config):
        raise RunError(
            f"{path} holds only what was kept, like the evidence that compare packs: name the run directory itself"
        )
    scored_then, _ = then.ranks(played, iteration)
    scored_now, kept_now = now.ranks(played, iteration)
    correlations = _correlations(scored_then, scored_now, now.config.selection.group_by)
    return Kept(played, set(kept_then), set(kept_now), correlations)


def _chooses(config: Config) -> bool:
    """Whether the update leaves out trajectories even if all are valid."""
    method = METHODS.get(config.update.loss)
    return method is not None and method.trained(config) < config.rollout.rollouts


def _correlations(then: Sequence[Scored], now: Sequence[Scored], by: str) -> list[float]:
    from scipy import stats

    groups: dict[str, list[tuple[float, float]]] = {}
    for one, other in zip(then, now, strict=True):  # both score the valid trajectories, in order
        groups.setdefault(GROUP_KEYS[by](one.trajectory), []).append((one.score, other.score))
    found: list[float] = []
    for pairs in groups.values():
        ranks = stats.rankdata(np.array(pairs), axis=0)
        if (ranks.std(axis=0) > 0).all():
            found.append(float(np.corrcoef(ranks.T)[0, 1]))
    return found


def _row(parts: Sequence[Kept]) -> dict[str, Any]:
    """The numbers of several iterations together; None where a number does not exist."""
    played = [trajectory for part in parts for trajectory in part.played]
    then, now = ([part.played[i] for part in parts for i in sorted(vars(part)[name])] for name in ("then", "now"))
    both, either = (sum(len(join(part.then, part.now)) for part in parts) for join in (set.intersection, set.union))
    correlations = [value for part in parts for value in part.correlations]
    row: dict[str, Any] = {"played": len(played), "regret_played": value_or(UNKNOWN, metrics.normalized_regret, played)}
    for which, trajectories in (("then", then), ("now", now)):
        row |= {
            f"kept_{which}": len(trajectories),
            f"regret_{which}": value_or(UNKNOWN, metrics.normalized_regret, trajectories),
            f"suffix_failure_{which}": metrics.suffix_failure_frequency(trajectories),
            f"min_fraction_{which}": metrics.scaled_min_fraction(trajectories),
        }
    row["jaccard"] = both / either if either else UNKNOWN
    row["spearman"] = float(np.mean(correlations)) if correlations else UNKNOWN
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


# ---- text -----------------------------------------------------------------------------------------------------------


def text(rows: dict[str, Any]) -> str:
    """The two rules and the table, for a terminal."""
    columns = _columns()
    table = plain_table(["iteration", *columns])
    for row in rows["iterations"]:
        table.add_row(str(row["iteration"]), *(cell(row) for cell in columns.values()))
    table.add_section()
    table.add_row("all", *(cell(rows["total"]) for cell in columns.values()))
    rules = [
        f"{which:>4}: {', '.join(f'{key}={value}' for key, value in rows[which].items() if value is not None)}"
        for which in ("then", "now")
    ]
    said = "regret: normalized (0 oracle, 1 uniform), of all trajectories and of those kept then and now"
    return as_text(*rules, table, said)


def _columns() -> dict[str, Callable[[dict[str, Any]], str]]:
    def shown(key: str, form: str = ".3f") -> Callable[[dict[str, Any]], str]:
        return lambda row: DASH if row[key] is None else format(row[key], form)

    columns = {"played": shown("played", "d"), "kept then": shown("kept_then", "d"), "now": shown("kept_now", "d")}
    columns |= {"regret": shown("regret_played")}
    for name, key in (("regret", "regret"), ("SuffFail", "suffix_failure"), ("K×MinFrac", "min_fraction")):
        columns |= {f"{name} then": shown(f"{key}_then"), f"{name} now": shown(f"{key}_now")}
    return columns | {"Jaccard": shown("jaccard"), "Spearman": shown("spearman")}
