"""GRPO on regret: every turn of a valid trajectory has an advantage over the other rollouts of its scenario.

The loss is verl's clipped policy loss, with its options (``verl.actor_rollout_ref.actor``: clip_ratio_high, ...).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rmft_verl.algo.credit import CREDITS
from rmft_verl.algo.method import Column, Method, Rows, Samples, Terms, need_two, trained_tokens
from rmft_verl.config import Config, ConfigError
from rmft_verl.types import Batch, Scored, Trajectory

EPSILON = 1e-6
"""Added to a standard deviation, as in verl's GRPO."""


class GRPO(Method):
    """Group-relative policy optimization (Shao et al. 2024), turn by turn."""

    needs_old = True
    options = ("update.credit", "update.penalty")

    def check(self, config: Config) -> None:
        need_two(config)
        _check_whole_distribution(config)
        if config.update.start == "base":
            raise ConfigError(
                "update.start='base': update.loss=grpo reinforces the model that played; use update.start=current"
            )
        if config.rollout.player != "model":
            raise ConfigError(
                f"update.loss='grpo' reinforces the model's rollouts, and rollout.player={config.rollout.player!r}: "
                "use update.loss=sft to imitate a player"
            )

        if config.verl_override("actor_rollout_ref.actor.use_kl_loss"):
            raise ConfigError(
                "verl.actor_rollout_ref.actor.use_kl_loss=true needs a reference model, and none is loaded: leave it "
                "out"
            )

    def trained(self, config: Config) -> int:
        return config.rollout.rollouts

    def plan(self, config: Config) -> str:
        credit = config.selection.score if config.update.credit == "score" else config.update.credit
        return f"all {config.rollout.rollouts} rollouts of a scenario, credited by {credit}"

    def choose(self, scored: Sequence[Scored], config: Config, rng: np.random.Generator) -> Batch:
        """Every trajectory whose scenario has another valid one, with the credit of its turns."""
        return self.batch(scored, [], config, rng)

    def batch(
        self, scored: Sequence[Scored], failed: Sequence[Trajectory], config: Config, rng: np.random.Generator
    ) -> Batch:
        """``choose``, with the failed trajectories of a scenario below its valid ones if there is a penalty."""
        fallen = failed if config.update.penalty else []
        members = Counter(t.scenario.id for t in (*(one.trajectory for one in scored), *fallen))
        compared = [one for one in scored if members[one.trajectory.scenario.id] > 1]
        credit = [CREDITS[config.update.credit](one) for one in compared]
        valid = [one.trajectory for one in compared]
        worst = worst_credits(valid, credit)
        fallen = [trajectory for trajectory in fallen if trajectory.scenario.id in worst]
        below = [worst[t.scenario.id][: len(t.rounds)] - config.update.penalty for t in fallen]
        return Batch([*valid, *fallen], kept=[one.place for one in compared], credit=[*credit, *below])

    def columns(self, samples: Samples, config: Config, verl: Any) -> dict[str, Column]:
        """The advantage of each token: that of its turn on reply tokens, 0 elsewhere."""
        advantages = turn_advantages(samples.batch, by_std=verl.algorithm.norm_adv_by_std_in_grpo)
        rows = [token_advantages(trajectory, advantages[i]) for i, trajectory in enumerate(samples.batch.trajectories)]
        return {"advantages": [rows[i][n] for i, n in zip(samples.trajectory, samples.nth, strict=True)]}

    def loss(self, rows: Rows, config: Config, actor: Any) -> Terms:
        from verl.workers.utils.losses import ppo_loss

        value, verls = ppo_loss(actor, rows.output, rows.data)
        size = sum(each.abs().sum() / max(1, len(each)) for each in rows.columns["advantages"])
        named = {
            "update/clip_fraction": verls["actor/pg_clipfrac"],
            "update/kl": verls["actor/ppo_kl"],
            "update/advantage_abs": size,
        }
        if "actor/entropy_loss" in verls:
            named["update/entropy"] = verls["actor/entropy_loss"]
        return Terms(shared=value, metrics=named)


def _check_whole_distribution(config: Config) -> None:
    """Refuse to sample from a part of the softmax: the log-probabilities that the loss compares are of all of it."""
    raw = "verl.actor_rollout_ref.rollout"
    for key, value, whole in (
        ("rollout.top_p", config.rollout.top_p, (1,)),
        (f"{raw}.top_p", config.verl_override("actor_rollout_ref.rollout.top_p"), (1,)),
        (f"{raw}.top_k", config.verl_override("actor_rollout_ref.rollout.top_k"), (-1, 0)),  # vLLM: no limit
    ):
        if value is not None and value not in whole:
            raise ConfigError(
                f"{key}={value}: update.loss=grpo weighs tokens by the whole softmax, and this samples from a part of "
                f"it; use {key}={whole[0]}"
            )


def worst_credits(trajectories: Sequence[Trajectory], credit: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """For the id of each scenario the lowest credit of its trajectories at each turn, shape (T,)."""
    groups: dict[str, list[np.ndarray]] = {}
    for trajectory, credit_T in zip(trajectories, credit, strict=True):
        groups.setdefault(trajectory.scenario.id, []).append(credit_T)
    return {scenario: np.min(credit_G_T, axis=0) for scenario, credit_G_T in groups.items()}


def turn_advantages(batch: Batch, by_std: bool) -> list[np.ndarray]:
    """Advantage of each turn of each trajectory, shape (T,): its credit minus the mean credit of the same turn over the
    rollouts of its scenario, with ``by_std`` divided by their standard deviation (n - 1 in the denominator).

    Undivided advantages keep the scale of the credits: for sums from a turn on, the last turns weigh least.
    """
    groups: dict[str, list[int]] = {}
    for i, trajectory in enumerate(batch.trajectories):
        groups.setdefault(trajectory.scenario.id, []).append(i)
    found = [np.zeros(len(credit_T)) for credit_T in batch.credit]
    for members in groups.values():
        for t in range(max(len(batch.credit[i]) for i in members)):
            there = [i for i in members if t < len(batch.credit[i])]
            credit_G = np.array([batch.credit[i][t] for i in there], dtype=np.float64)
            advantage_G = credit_G - credit_G.mean()
            if by_std and len(there) > 1:
                advantage_G /= credit_G.std(ddof=1) + EPSILON
            for i, advantage in zip(there, advantage_G, strict=True):
                found[i][t] = advantage
    return found


def token_advantages(trajectory: Trajectory, advantage_T: np.ndarray) -> list[np.ndarray]:
    """Advantages of each sample of a trajectory, shape (N,): that of round t for tokens of its reply, 0 for all others.

    ``ValueError`` unless the trajectory has one reply per round, besides those that were asked again.
    """
    samples = trained_tokens(trajectory)
    spans = [(i, span) for i, tokens in enumerate(samples) for span in tokens.reply_spans]
    if len(spans) != len(advantage_T):
        raise ValueError(f"{len(spans)} sampled replies and {len(advantage_T)} turns: which is which?")
    rows = [np.zeros(len(tokens.ids_N)) for tokens in samples]
    for (i, (start, end)), advantage in zip(spans, advantage_T, strict=True):
        rows[i][start:end] = advantage
    return rows
