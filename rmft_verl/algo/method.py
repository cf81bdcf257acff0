"""The parts of a fine-tuning method. A new method takes one file here and one line in ``algo.METHODS``.

    played --Scorer--> scored --choose--> Batch --columns--> rows of verl's batch --loss--> one number

A method is stateless: configuration, randomness and data are arguments. Importing this module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Union

import numpy as np

from rmft_verl.algo.selection import count
from rmft_verl.config import HOSTED, Config, ConfigError
from rmft_verl.types import Batch, Scored, Tokens, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

Column = Sequence[Union[float, np.ndarray]]
"""One value per sample: a number, or an array with one value per token of the sample, shape (N,)."""


@dataclass(frozen=True)
class Samples:
    """The token sequences of one update, in the order in which verl gets them."""

    tokens: Sequence[Tokens]
    trajectory: Sequence[int]
    """For each sample the position of its trajectory in ``batch.trajectories``."""
    nth: Sequence[int]
    """For each sample its index within that trajectory: 0 if a trajectory is one dialogue."""
    batch: Batch

    @classmethod
    def of(cls, batch: Batch) -> Samples:
        """Every sample of every trajectory, in order."""
        tokens = [trained_tokens(trajectory) for trajectory in batch.trajectories]
        places = [(i, n) for i, samples in enumerate(tokens) for n in range(len(samples))]
        return cls([tokens[i][n] for i, n in places], [i for i, _ in places], [n for _, n in places], batch)

    def take(self, order: Sequence[int]) -> Samples:
        """The samples at the positions ``order``."""
        return Samples(
            tokens=[self.tokens[i] for i in order],
            trajectory=[self.trajectory[i] for i in order],
            nth=[self.nth[i] for i in order],
            batch=self.batch,
        )


def trained_tokens(trajectory: Trajectory) -> tuple[Tokens, ...]:
    """The samples of a trajectory. A reply that was asked again is context there, as the environment's words are: its
    mask is 0.
    """
    if not any(trajectory.asked_again):
        return trajectory.tokens
    again = iter(trajectory.asked_again)
    samples: list[Tokens] = []
    for tokens in trajectory.tokens:
        mask_N = tokens.mask_N.copy()
        for start, end in tokens.reply_spans:
            mask_N[start:end] *= not next(again)
        samples.append(replace(tokens, mask_N=mask_N))
    return tuple(samples)


@dataclass(frozen=True)
class Rows:
    """What the loss reads of one micro-batch. Only ``logprobs`` carries gradients."""

    logprobs: list[Tensor]
    """For each sample the log-probabilities of its sampled tokens, shape (M,)."""
    columns: Mapping[str, Any]
    """What ``Method.columns`` returned: numbers as a tensor (B,), arrays as a list with each sample's values at its
    sampled tokens (M,). With ``needs_old``, ``old`` has the log-probabilities under the model that played."""
    output: Mapping[str, Any]
    data: Any
    """verl's own form of the same data, for losses of verl."""


@dataclass(frozen=True)
class Terms:
    """A loss as sums over the micro-batch. Each sum is added over micro-batches and GPUs and divided by the number of
    its units in the optimizer step; the results add up to the loss.
    """

    per_token: Tensor | float = 0.0
    """Divided by the number of sampled tokens, without rows for which ``columns`` sets ``counted`` to 0."""
    per_group: Tensor | float = 0.0
    """Divided by the number of groups: samples, or pairs if ``together`` is 2."""
    shared: Tensor | float = 0.0
    """Added unchanged: a loss that verl has already divided."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Key (docs/metrics.md) -> its sum over groups, logged as the mean; a ``Metric`` of verl is logged as it is."""


class Method(ABC):
    """Base class of the methods. Its defaults suit supervised fine-tuning on a selection."""

    together: ClassVar[int] = 1
    """Number of consecutive samples that are compared and so stay in one micro-batch."""
    needs_old: ClassVar[bool] = False
    """Whether the loss reads the log-probabilities of the model that played."""
    options: ClassVar[tuple[str, ...]] = ()
    """Configuration keys that belong to this method; other methods refuse them."""

    def check(self, config: Config) -> None:  # noqa: B027 - most have nothing to refuse
        """Raise ``ConfigError`` for a configuration under which the method cannot run."""

    def trained(self, config: Config) -> int:
        """Trajectories per scenario that an update trains on, if all are valid."""
        return count(config.selection.keep, config.rollout.rollouts)

    def plan(self, config: Config) -> str:
        """What an iteration trains on, in words."""
        return f"keep {ranked(config)}"

    @abstractmethod
    def choose(self, scored: Sequence[Scored], config: Config, rng: np.random.Generator) -> Batch:
        """Choose what the update trains on from the valid trajectories of an iteration."""

    def batch(
        self, scored: Sequence[Scored], failed: Sequence[Trajectory], config: Config, rng: np.random.Generator
    ) -> Batch:
        """``choose``; a method that penalizes invalid replies also takes ``failed``, the trajectories with one."""
        return self.choose(scored, config, rng)

    def columns(self, samples: Samples, config: Config, verl: Any) -> dict[str, Column]:
        """Values that the loss reads besides tokens. ``verl``: verl's resolved configuration."""
        return {}

    @abstractmethod
    def loss(self, rows: Rows, config: Config, actor: Any) -> Terms:
        """The loss of a micro-batch. Runs in verl's workers; ``actor`` is verl's resolved actor configuration."""


def ranked(config: Config) -> str:
    """How many of a scenario's trajectories are chosen and by which score, in words."""
    selection, rollouts = config.selection, config.rollout.rollouts
    number = f"{count(selection.keep, rollouts)} of {rollouts}"
    if selection.accept != "best":
        number = f"about {number}, by chance,"
    return f"{number} by {selection.score} per {selection.group_by}"


def need_two(config: Config) -> None:
    """Raise ``ConfigError`` if a scenario has only one rollout, because the method compares several."""
    if config.rollout.rollouts < 2:
        raise ConfigError(
            f"update.loss={config.update.loss!r} compares rollouts of a scenario, and rollout.rollouts="
            f"{config.rollout.rollouts}: set rollout.rollouts to 2 or more"
        )


def check_pairs(config: Config) -> None:
    """Refuse what pairs of whole dialogues do not fit; for methods with ``together = 2``."""
    loss, rollout, keep = config.update.loss, config.rollout, config.selection.keep
    need_two(config)
    if 2 * count(keep, rollout.rollouts) > rollout.rollouts:
        raise ConfigError(
            f"selection.keep={keep:g} pairs need twice as many rollouts, and rollout.rollouts={rollout.rollouts}: keep "
            "at most half"
        )
    if rollout.history != "dialogue":
        raise ConfigError(
            f"update.loss={loss!r} compares whole dialogues: use rollout.history=dialogue, not {rollout.history!r}"
        )
    if not config.model.path.startswith(HOSTED) and 2 * config.model.context > config.hardware.tokens_per_gpu:
        raise ConfigError(
            f"hardware.tokens_per_gpu={config.hardware.tokens_per_gpu} is less than twice model.context="
            f"{config.model.context}: a pair of update.loss={loss} must fit a forward pass; raise "
            "hardware.tokens_per_gpu"
        )
