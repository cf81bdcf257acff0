"""Confirms after every sync that each replica's engine holds, bit for bit, the weights that the trainer sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayTaskError

from rmft_verl.bridge.backend import StaleSamplerError
from rmft_verl.bridge.checksum import DIFFERENT


class Receipt:
    """Compares checksums of both sides.

    Some engines hold other numbers than they are sent: quantized, split by tensor parallelism, or of an architecture
    whose weights are converted. The first sync shows that, since the canary stops a run whose first sync fails. From
    then on only the canary speaks for such a sampler.
    """

    def __init__(self, servers: Sequence[Any]) -> None:
        """``servers``: the handle of verl's server of each replica."""
        self._servers = servers
        self._comparable: bool | None = None
        self._last: tuple[int, int] | None = None

    def check(self, sent: tuple[int, int], version: int, updated: bool) -> float:
        """1 if every engine holds the weights with the checksum ``sent``, 0 if this engine cannot be asked.

        ``updated``: an update has come between this sync and the last one. Raises ``StaleSamplerError`` if an engine
        holds other weights, or if the trainer sent what it had sent before the update.
        """
        if updated and sent == self._last:
            raise StaleSamplerError(
                f"sync {version}: the trainer sent the same weights as before the update. Either the update changed "
                "none (is update.lr tiny?), or an adapter was not merged when they were sent"
            )
        asked = [server.collective_rpc.remote("confirm_weights", args=(sent,)) for server in self._servers]
        wrong = [replica for replica, answer in enumerate(asked) if not _confirmed(answer)]
        if self._comparable is None:
            self._comparable = not wrong
        if wrong and self._comparable:
            raise StaleSamplerError(
                f"sync {version}: the engines of replicas {wrong} of {len(self._servers)} do not hold the weights that "
                "the trainer sent: the sync delivered part of them, or nothing. Start again to go on"
            )
        self._last = sent
        return float(self._comparable)


def _confirmed(answer: ray.ObjectRef) -> bool:
    try:
        ray.get(answer)
    except RayTaskError as error:
        if DIFFERENT in str(error):
            return False
        raise
    return True
