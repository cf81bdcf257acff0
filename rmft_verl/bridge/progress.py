"""A counter that verl's rollout processes add to and the driver reads, so that a person can watch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any, TypeVar

import ray

from rmft_verl.backend import OnProgress

NAME = "rmft_verl_progress"
Result = TypeVar("Result")


class Counter:
    """Finished episodes and sampled tokens."""

    def __init__(self) -> None:
        self._episodes = 0
        self._tokens = 0

    def add(self, tokens: int) -> None:
        self._episodes += 1
        self._tokens += tokens

    def take(self) -> tuple[int, int]:
        """What has come since the last call."""
        taken = self._episodes, self._tokens
        self._episodes = self._tokens = 0
        return taken


def start() -> Any:
    """The counter's handle; its actor is found by name from every rollout process."""
    return ray.remote(Counter).options(name=NAME, num_cpus=0).remote()


def watch(work: Callable[[], Result], counter: Any, on_progress: OnProgress | None) -> Result:
    """Run ``work`` and report the counter every half second until it is done.

    An interrupt of this thread does not wait for ``work``, which ends with the process.
    """
    future: Future[Result] = Future()

    def fill() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whatever it is, the waiting thread raises it
            future.set_exception(error)

    Thread(target=fill, daemon=True).start()
    while not future.done():
        wait([future], timeout=0.5)
        taken = ray.get(counter.take.remote())
        if on_progress is not None:
            on_progress(*taken)
    return future.result()
