"""What a fine-tuning method is made of. A new one is one file here and one line in ``algo.METHODS``.

    played --Scorer--> scored --choose--> Batch --columns--> rows of verl's batch --loss--> one number

A method is stateless: configuration, randomness and data are arguments. Nothing here imports torch when it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Union

import numpy as np

from rmft_verl.algo.selection import count
from rmft_verl.config import Config, ConfigError
from rmft_verl.types import Batch, Scored, Tokens

if TYPE_CHECKING:
    from torch import Tensor

Column = Sequence[Union[float, np.ndarray]]
"""A value of each sample: a number, or an array with a value of each of its tokens, shape (N,)."""


@dataclass(frozen=True)
class Samples:
    """The token sequences of one update, in the order in which verl gets them."""

    tokens: Sequence[Tokens]
    play: Sequence[int]
    """Of each sample the position of its trajectory in ``batch.plays``."""
    nth: Sequence[int]
    """Of each sample its number within that trajectory: 0 where a trajectory is one dialogue."""
    batch: Batch

    @classmethod
    def of(cls, batch: Batch) -> Samples:
        """Every sample of every trajectory, in order."""
        places = [(i, n) for i, play in enumerate(batch.plays) for n in range(len(play.tokens))]
        tokens = [batch.plays[i].tokens[n] for i, n in places]
        return cls(tokens, [i for i, _ in places], [n for _, n in places], batch)

    def take(self, order: Sequence[int]) -> Samples:
        """Those at the positions ``order``."""
        return Samples(
            tokens=[self.tokens[i] for i in order],
            play=[self.play[i] for i in order],
            nth=[self.nth[i] for i in order],
            batch=self.batch,
        )


@dataclass(frozen=True)
class Rows:
    """What the loss reads of one micro-batch. Gradients flow through ``logprobs`` alone."""

    logprobs: list[Tensor]
    """Of each sample the log-probabilities of its sampled tokens, shape (M,)."""
    columns: Mapping[str, Any]
    """What ``columns`` returned: a number a sample as a tensor (B,), or of each sample the values at its sampled tokens
    as a list of (M,); with ``needs_old``, ``old``: the log-probabilities under the model that played."""
    output: Mapping[str, Any]
    data: Any
    """verl's own form of the same, for losses of verl."""


@dataclass(frozen=True)
class Terms:
    """A loss as sums over the micro-batch. The sum over micro-batches and GPUs of each, divided by its unit's number in
    the optimizer step, is added up to the loss of the step.
    """

    per_token: Tensor | float = 0.0
    """Divided by the number of sampled tokens of the rows that ``columns`` does not set ``counted`` to 0 for."""
    per_group: Tensor | float = 0.0
    """Divided by the number of groups: of samples, or of pairs where ``together`` is 2."""
    shared: Tensor | float = 0.0
    """Added as it is: a loss that verl has divided already."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Sums over groups, logged as ``update/NAME`` divided in the same way; verl's ``Metric`` as it is."""


class Method:
    """Supervised fine-tuning on a selection, unless a subclass says otherwise."""

    together: ClassVar[int] = 1
    """Consecutive samples that are compared with one another and so stay in one micro-batch."""
    needs_old: ClassVar[bool] = False
    """Whether the loss reads the log-probabilities of the model that played."""
    options: ClassVar[tuple[str, ...]] = ()
    """Keys of the configuration that belong to this method; others refuse them."""

    def check(self, config: Config) -> None:
        """Raise ``ConfigError`` for a configuration under which the method cannot run."""

    def trained(self, config: Config) -> int:
        """Trajectories of a scenario that an update trains on, if all are valid."""
        return count(config.selection.keep, config.rollout.rollouts)

    def plan(self, config: Config) -> str:
        """What an iteration trains on, in words."""
        return f"keep {ranked(config)}"

    def choose(self, scored: Sequence[Scored], config: Config, rng: np.random.Generator) -> Batch:
        """What the update trains on, of the valid trajectories of an iteration."""
        raise NotImplementedError

    def temperature(self, config: Config) -> float:
        """At which log-probabilities are taken."""
        return 1.0

    def columns(self, samples: Samples, config: Config, verl: Any) -> dict[str, Column]:
        """What the loss reads of each sample besides its tokens. ``verl``: verl's resolved configuration."""
        return {}

    def loss(self, rows: Rows, config: Config, actor: Any) -> Terms:
        """The loss of a micro-batch. Runs in verl's workers; ``actor`` is verl's resolved actor configuration."""
        raise NotImplementedError


def ranked(config: Config) -> str:
    """How many of a scenario's trajectories are chosen, and by what, in words."""
    selection, rollouts = config.selection, config.rollout.rollouts
    return f"{count(selection.keep, rollouts)} of {rollouts} by {selection.score} per {selection.group_by}"


def need_two(config: Config) -> None:
    """Refuse a single rollout of a scenario where trajectories are compared."""
    if config.rollout.rollouts < 2:
        raise ConfigError(
            f"update.loss={config.update.loss!r} compares rollouts of a scenario, and rollout.rollouts="
            f"{config.rollout.rollouts}: set rollout.rollouts to 2 or more"
        )
