"""What the trainer asks of the machinery that samples and trains. verl implements it in ``bridge``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rmft_verl.types import Batch, RolloutRequest, RunError, Trajectory

OnProgress = Callable[[int, int], None]
"""Called with the number of finished episodes and of sampled tokens since the last call."""


class StaleSamplerError(RunError):
    """The sampler does not play with the trainer's weights; going on would train on another model's play."""


class Backend(Protocol):
    """One model that plays and learns. ``version`` counts its updates; 0 is the base."""

    def rollout(
        self, requests: Sequence[RolloutRequest], version: int, on_progress: OnProgress | None = None
    ) -> list[Trajectory]:
        """Play every request with the current weights, in order. Not yet scored."""
        ...

    def render(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Plays of an algorithm with ``tokens``: what the model would have read and, as its replies, ``Turn.text``."""
        ...

    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        """Train on the sampled tokens of ``batch``; returns loss, gradient norm, token counts and what the loss adds.

        Raises ``RunError`` if the batch is too small for the GPUs or the training is not finite.
        """
        ...

    def sync(self, version: int) -> dict[str, float]:
        """Give the sampler the trainer's weights and prove that they arrived; raises ``StaleSamplerError``."""
        ...

    def save(self, directory: Path) -> None:
        """Write the current weights as a Hugging Face directory that transformers and vLLM load."""
        ...

    def save_state(self, directory: Path) -> None:
        """Write all that the next update and the next sync depend on: weights, optimizer, schedule, generators."""
        ...

    def load_state(self, directory: Path) -> None:
        """Go on from what ``save_state`` wrote; the sampler has the weights after the next ``sync``."""
        ...

    def close(self) -> None: ...
