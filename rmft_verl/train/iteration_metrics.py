"""The metrics of one iteration, a row of metrics.jsonl (docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rmft_verl.algo.scores import ENOUGH, MOST_PATHS
from rmft_verl.config import SelectionConfig
from rmft_verl.eval import metrics
from rmft_verl.eval.metrics import NO_INTERVAL, UNKNOWN, value_or
from rmft_verl.types import Batch, Scored, Trajectory

MANY_INVALID = 0.2
"""Above this share of invalid trajectories the user should first mend the form of the answers."""

MORE_FAILURES, LESS_EXPLORED = 0.15, 0.25
"""Exploration has collapsed if suffix failures rise by more, or K x MinFrac falls below this share."""

NO_LUCK = (
    "Keep more (selection.keep), or score by selection.score=posterior with selection.further above 0 "
    "(docs/selection.md)"
)
SMALLER_STEPS = (
    "Unless held-out regret falls as well, the update overshoots: lower update.lr or raise update.batch "
    "(docs/pretrained.md, When the loss rises)"
)


def held_out_metrics(played: Sequence[Trajectory], row: Mapping[str, float]) -> dict[str, float]:
    """Metrics of an evaluation, with the regret in each environment if several are mixed.

    ``row``: the iteration's other metrics. ``heldout/optimism_gap`` is how much better its kept trajectories, if any,
    looked than the model plays.
    """
    regret = value_or(NO_INTERVAL, metrics.normalized_regret_interval, played)
    failure = metrics.suffix_failure_interval(played)
    kept = row.get("kept/normalized_regret")
    gap = {} if kept is None else {"heldout/optimism_gap": regret.value - kept}
    return (
        gap
        | _regret_by_environment(played)
        | {
            "heldout/normalized_regret": regret.value,
            "heldout/normalized_regret_low": regret.low,
            "heldout/normalized_regret_high": regret.high,
            "heldout/regret": value_or(UNKNOWN, metrics.mean_regret, played),
            "heldout/suffix_failure": metrics.suffix_failure_frequency(played),
            "heldout/suffix_failure_low": failure.low,
            "heldout/suffix_failure_high": failure.high,
            "heldout/min_fraction": metrics.scaled_min_fraction(played),
            "heldout/greedy_fraction": metrics.greedy_fraction(played),
            "heldout/invalid_rate": metrics.invalid_rate(played),
        }
    )


def rollout_metrics(played: Sequence[Trajectory], seconds: float) -> dict[str, float]:
    """Metrics of the training rollouts before selection."""
    known = any(t.tokens for t in played)  # an API tells words, no tokens
    sampled = float(sum(int(tokens.sampled_N.sum()) for t in played for tokens in t.tokens)) if known else math.nan
    return {
        "rollout/normalized_regret": value_or(UNKNOWN, metrics.normalized_regret, played),
        "rollout/suffix_failure": metrics.suffix_failure_frequency(played),
        "rollout/min_fraction": metrics.scaled_min_fraction(played),
        "rollout/invalid_rate": metrics.invalid_rate(played),
        "rollout/cut_rate": metrics.cut_rate(played),
        "rollout/valid": float(np.mean([t.valid for t in played])),
        "rollout/plays": float(len(played)),
        "rollout/tokens": sampled,
        "rollout/tokens_per_second": sampled / seconds,
    }


def kept_metrics(kept: Sequence[Trajectory], places: Sequence[int], scored: Sequence[Scored]) -> dict[str, float]:
    """Metrics of the selection; ``places`` are the positions of ``kept`` among all trajectories."""
    score = {one.place: one.score for one in scored}
    return {
        "rollout/score": float(np.mean([trajectory.score for trajectory in scored])),
        "kept/score": float(np.mean([score[place] for place in places])),
        "kept/normalized_regret": value_or(UNKNOWN, metrics.normalized_regret, kept),
        "kept/suffix_failure": metrics.suffix_failure_frequency(kept),
        "kept/min_fraction": metrics.scaled_min_fraction(kept),
        "kept/share": len(kept) / len(scored),
        "kept/repaired": float(np.mean([any(trajectory.asked_again) for trajectory in kept])),
    }


def credit_metrics(batch: Batch) -> dict[str, float]:
    """The mean credit over the turns of valid trajectories and the number of penalized ones; empty without credit."""
    valid = [credit for one, credit in zip(batch.trajectories, batch.credit, strict=False) if not one.failed]
    if not valid:
        return {}
    penalized = len(batch.credit) - len(valid)
    return {"rollout/credit": float(np.concatenate(valid).mean()), "rollout/penalized": float(penalized)}


def particle_metrics(effective: Sequence[float]) -> dict[str, float]:
    """The median effective number of particles behind an iteration's scores; empty if they use none."""
    return {"rollout/effective_particles": float(np.median(effective))} if effective else {}


def few_particles(row: Mapping[str, float]) -> str:
    """A warning line if the scores of ``row`` rest on fewer than ``ENOUGH`` effective particles; else empty."""
    effective = row.get("rollout/effective_particles", ENOUGH)
    if effective >= ENOUGH:
        return ""
    return (
        f"selection.score=posterior rests on {effective:.0f} effective particles (median of the trajectories), below "
        f"{ENOUGH:.0f}: the rewards narrow the means down too far for {MOST_PATHS:,} draws. Its ranking is then partly "
        "noise; shorter horizons, fewer arms or noisier rewards give more, or use selection.score=regret"
    )


def collapse(first: Mapping[str, float], row: Mapping[str, float], selection: SelectionConfig) -> str:
    """A warning line if the rollouts of ``row`` explore far less than those of the ``first`` iteration; else empty.

    The remedy is another ``selection`` where luck can be what is kept, and smaller steps where it cannot.
    """
    failures, explored = "rollout/suffix_failure", "rollout/min_fraction"
    more, less = row[failures] - first[failures], row[explored] / first[explored] if first[explored] > 0 else 1.0
    if not (more > MORE_FAILURES or less < LESS_EXPLORED):  # NaN, in games without arms, gives no warning
        return ""
    keeps_luck = selection.score != "random" and not (selection.score == "posterior" and selection.further > 0)
    return (
        f"exploration collapses: suffix failures {first[failures]:.2f} -> {row[failures]:.2f}, K x MinFrac "
        f"{first[explored]:.2f} -> {row[explored]:.2f} since the first iteration. "
        f"{NO_LUCK if keeps_luck else SMALLER_STEPS}"
    )


def unreadable(played: Sequence[Trajectory]) -> str:
    """Three failed replies and remedies if more than ``MANY_INVALID`` of the trajectories are invalid; else empty."""
    share = float(np.mean([not trajectory.valid for trajectory in played]))
    failed = [turn for trajectory in played for turn in trajectory.turns if not turn.parsed or turn.cut]
    if share <= MANY_INVALID or not failed:
        return ""
    shown = [failed[place] for place in np.linspace(0, len(failed) - 1, min(3, len(failed))).astype(int)]
    cut = np.mean([turn.cut for turn in failed])
    replies = "".join(f"\n    {turn.text[-200:]!r}{' (cut)' if turn.cut else ''}" for turn in shown)
    return (
        f"{share:.0%} of {len(played)} plays are invalid and cannot be learnt from; of their invalid replies {cut:.0%} "
        f"ran into rollout.reply_tokens. Three of them end so:{replies}\n  Remedies: rollout.structured=true leaves no "
        "other last line than an answer; recipe=...+warmup teaches the form first; a larger rollout.reply_tokens, or "
        "model.chat_template.enable_thinking=false, if they are cut; env.options.answer=action_only asks for no "
        "reasoning"
    )


def _regret_by_environment(played: Sequence[Trajectory]) -> dict[str, float]:
    names = sorted({trajectory.scenario.env for trajectory in played})
    parts = {name: [trajectory for trajectory in played if trajectory.scenario.env == name] for name in names}
    if len(parts) == 1:
        return {}
    return {
        f"heldout/normalized_regret/{name}": value_or(UNKNOWN, metrics.normalized_regret, trajectories)
        for name, trajectories in parts.items()
    }
