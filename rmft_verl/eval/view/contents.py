"""Which trajectories of a run its page shows, and what is counted over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmft_verl.algo.scores import Scorer
from rmft_verl.config import NUMERIC, Config
from rmft_verl.env import Env, make_generator
from rmft_verl.env.seeds import SELECTION
from rmft_verl.eval import metrics
from rmft_verl.eval.algorithms import play_requests, plays_all
from rmft_verl.eval.view.shelf import Piece, Shelf, rounded
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_kept, read_trajectories
from rmft_verl.types import RolloutRequest, Tokens, Trajectory

MOST_ITERATIONS = 20
"""Iterations whose trajectories are read; of more than these, evenly spread ones, the first and the last included."""

PHASES = ("eval", "train")

BESIDE = ("ucb1", "hedge")
"""The first of these that can play a game plays it beside the model, on the same draws."""

BLOCK = 64
"""Games that are played beside the model at once."""

ReadTokens = Callable[[Sequence[int]], str]
"""Token ids to text."""


@dataclass(frozen=True)
class Source:
    """A run as the page reads it."""

    directory: RunDir
    config: Config
    env_class: type[Env]
    read_tokens: ReadTokens | None
    """None if the run's tokenizer is not on this machine."""


def fill(shelf: Shelf, source: Source, run: int, limit: int) -> list[dict[str, Any]]:
    """Put trajectories of a run on the shelf until its size is ``limit``; returns one row per phase and iteration.

    Every phase of every iteration gets an equal share of the room; what one leaves is left to those after it. Within
    it whole scenarios come in the order of their ids, which are hashes: the same ones in every iteration, and no
    choice by result.
    """
    parts = [(phase, n) for phase in PHASES for n in spread(source.directory.recorded(phase))]
    rows: list[dict[str, Any]] = []
    for i, (phase, n) in enumerate(parts):
        path = source.directory.trajectories(phase, n)
        played, kept = read_trajectories(path), read_kept(path) if phase == "train" else None
        share = shelf.size + (limit - shelf.size) // (len(parts) - i)
        order = sorted(range(len(played)), key=lambda place: (played[place].scenario.id, place))
        shown = 0
        scores = scores_of(source, played, n) if phase == "train" else {}
        for place, other in _with_others(source.env_class, played, order):
            one = played[place]
            facts = {"run": run, "set": f"{phase} {n}", "place": place, "score": rounded(scores.get(place))}
            facts["kept"] = None if kept is None else place in kept
            if not shelf.offer(one, facts, other, pieces(one, source.read_tokens), share):
                break
            shown += 1
        rows.append(_counted(played, kept, phase, n) | {"shown": shown})
    return rows


def spread(numbers: Sequence[int], most: int = MOST_ITERATIONS) -> list[int]:
    """At most ``most`` of the numbers, evenly spread, the first and the last included."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[i] for i in dict.fromkeys(np.linspace(0, len(numbers) - 1, most).round().astype(int))]


def _counted(played: Sequence[Trajectory], kept: Sequence[int] | None, phase: str, n: int) -> dict[str, Any]:
    spans = [end - start for one in played for sample in one.tokens for start, end in sample.reply_spans]
    return {
        "phase": phase,
        "n": n,
        "of": len(played),
        "valid": sum(one.valid for one in played),
        "kept": None if kept is None else len(kept),
        "first_action_entropy": rounded(metrics.first_action_entropy(played)),
        "reply_tokens": rounded(float(np.mean(spans))) if spans else None,
    }


def scores_of(source: Source, played: Sequence[Trajectory], n: int) -> dict[int, float]:
    """The score of each valid trajectory of an iteration by its position, as the selection computed it.

    Empty for a run on numbers, which scores in its own way.
    """
    config = source.config
    if config.model.path.startswith(NUMERIC):
        return {}
    generator = make_generator(source.env_class, config.env.options)
    scorer = Scorer(config.selection.score, generator, config.selection.further)
    found = scorer(played, np.random.default_rng([SELECTION, config.seed, n]))
    return {scored.place: scored.score for scored in found}


def _with_others(
    env_class: type[Env], played: Sequence[Trajectory], order: Sequence[int]
) -> Iterator[tuple[int, Trajectory | None]]:
    """Each position of ``order`` with what is played ``beside`` it; a block at a time, since few may be wanted."""
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        yield from zip(block, beside(env_class, [played[place] for place in block]), strict=True)


def beside(env_class: type[Env], trajectories: Sequence[Trajectory]) -> list[Trajectory | None]:
    """What the first player of ``BESIDE`` that can play each game gets on the same draws; None if none of them can."""

    def able(trajectory: Trajectory) -> str | None:
        return next((name for name in BESIDE if plays_all(name, env_class, [trajectory.scenario])), None)

    names = [able(trajectory) for trajectory in trajectories]
    others: dict[str, Iterator[Trajectory]] = {}
    for name in BESIDE:
        own = [trajectory for trajectory, player in zip(trajectories, names, strict=True) if player == name]
        requests = [RolloutRequest(one.scenario, one.reward_seed, one.policy_seed) for one in own]
        others[name] = iter(play_requests(env_class, name, requests))
    return [next(others[name]) if name else None for name in names]


def pieces(trajectory: Trajectory, read: ReadTokens | None) -> list[list[Piece]]:
    """The tokens of each reply that add up to its text; an empty list for one whose tokens do not.

    Empty if the tokens of the replies are not known.
    """
    spans = [(sample, *span) for sample in trajectory.tokens for span in sample.reply_spans]
    if read is None or len(spans) != len(trajectory.turns):
        return []
    return [_fitting(list(_pieces(*span, read)), turn.text) for span, turn in zip(spans, trajectory.turns, strict=True)]


def _pieces(tokens: Tokens, start: int, end: int, read: ReadTokens) -> Iterator[tuple[str, bool, float | None]]:
    """Text, whether it was forced, and log-probability of each token; tokens that share a character are joined."""
    held: list[int] = []
    logprob = 0.0
    for place in range(start, end):
        held.append(int(tokens.ids_N[place]))
        logprob += 0.0 if tokens.logprobs_N is None else float(tokens.logprobs_N[place])
        text = read(held)
        if text.endswith("\ufffd") and place + 1 < end:
            continue
        yield text, bool(tokens.mask_N[place] == 2), None if tokens.logprobs_N is None else logprob
        held, logprob = [], 0.0


def _fitting(found: Sequence[tuple[str, bool, float | None]], text: str) -> list[Piece]:
    if "".join(piece for piece, *_ in found) != text:
        return []
    units = [len(piece.encode("utf-16-le", "surrogatepass")) // 2 for piece, *_ in found]
    logged = [None if value is None or math.isnan(value) else round(value, 2) for *_, value in found]
    return [(n, forced, value) for n, (_, forced, _), value in zip(units, found, logged, strict=True) if n]
