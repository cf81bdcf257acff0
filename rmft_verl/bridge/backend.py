"""The interface of a backend that samples and trains. ``bridge.verl_backend`` implements it with verl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rmft_verl.types import Batch, RolloutRequest, RunError, Trajectory

OnProgress = Callable[[int, int], None]
"""Called with the number of finished episodes and of sampled tokens since the last call."""


class StaleSamplerError(RunError):
    """The sampler does not use the trainer's weights. Training would use another model's trajectories."""


class Backend(Protocol):
    """One model that plays and learns. ``version`` counts its updates; 0 is the base."""

    def rollout(
        self, requests: Sequence[RolloutRequest], version: int, on_progress: OnProgress | None = None
    ) -> list[Trajectory]:
        """Play every request with the current weights. Return the trajectories in order, not yet scored."""
        ...

    def render(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Add ``tokens`` to an algorithm's trajectories: what a model would read, with ``Turn.text`` as replies."""
        ...

    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        """Train on the sampled tokens of ``batch``; returns loss, gradient norm, token counts and the loss's metrics.

        Raises ``RunError`` if the batch is too small for the GPUs, or if a loss or a gradient norm is not finite.
        """
        ...

    def sync(self, version: int) -> dict[str, float]:
        """Give the sampler the trainer's weights. Raises ``StaleSamplerError`` if they did not arrive."""
        ...

    def save(self, directory: Path) -> None:
        """Write the current weights as a Hugging Face directory that transformers and vLLM load."""
        ...

    def save_state(self, directory: Path) -> None:
        """Write everything that the next update and sync depend on: weights, optimizer, schedule, generators."""
        ...

    def load_state(self, directory: Path) -> None:
        """Load what ``save_state`` wrote. The sampler gets the weights at the next ``sync``."""
        ...

    def close(self) -> None: ...
