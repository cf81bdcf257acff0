"""A counter that verl's rollout processes add to and the driver reads, for progress and to notice a hang."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial, wraps
from threading import Thread
from typing import Any, TypeVar
from weakref import WeakSet

import ray
from ray.exceptions import GetTimeoutError

from rmft_verl.bridge.backend import OnProgress
from rmft_verl.bridge.cluster.faults import silence, told

NAME = "rmft_verl_progress"
CHECK = 2.0
"""Seconds between two calls of ``check`` in ``within``."""
_BEGUN: WeakSet[Thread] = WeakSet()
Result = TypeVar("Result")
Method = TypeVar("Method", bound=Callable[..., Any])


class Counter:
    """Finished episodes and sampled tokens."""

    def __init__(self) -> None:
        self._episodes = 0
        self._tokens = 0

    def add(self, episodes: int, tokens: int) -> None:
        self._episodes += episodes
        self._tokens += tokens

    def take(self) -> tuple[int, int]:
        """What has been added since the last call."""
        taken = self._episodes, self._tokens
        self._episodes = self._tokens = 0
        return taken


def start() -> Any:
    """Start the counter; returns its handle. Every rollout process finds its actor by name."""
    return ray.remote(Counter).options(name=NAME, num_cpus=0).remote()


def watch(
    work: Callable[[], Result],
    counter: Any,
    on_progress: OnProgress | None,
    patience: float,
    check: Callable[[], None] | None = None,
) -> Result:
    """Run ``work``; every half second until it is done call ``check`` and report the counter.

    Raises ``RunError`` if nothing is added for ``patience`` seconds. Neither this error nor an interrupt of this thread
    waits for ``work``, which ends with Ray (``unfinished``).
    """
    future = _begun(work)
    heard = time.monotonic()
    while not future.done():
        wait([future], timeout=0.5)
        if check is not None:
            check()
        try:
            taken = ray.get(counter.take.remote(), timeout=patience)
        except GetTimeoutError as error:
            raise silence("sampling", patience) from error
        if any(taken):
            heard = time.monotonic()
        elif time.monotonic() - heard > patience and not future.done():
            raise silence("sampling", patience)
        if on_progress is not None:
            on_progress(*taken)
    return future.result()


def within(
    work: Callable[[], Result], what: str, patience: float = math.inf, check: Callable[[], None] | None = None
) -> Result:
    """The result of ``work``; raises ``RunError`` if it takes more than ``patience`` seconds.

    Before, and then every ``CHECK`` seconds, it calls ``check``, which raises if ``work`` will never end.
    """
    if check is not None:
        check()
    future = _begun(work)
    end = time.monotonic() + patience
    while not wait([future], timeout=min(CHECK, max(0.0, end - time.monotonic()))).done:
        if time.monotonic() >= end:
            raise silence(what, patience)
        if check is not None:
            check()
    return future.result()


def watched(what: str) -> Callable[[Method], Method]:
    """Make a method of an object with ``_peers`` raise ``RunError`` once a process of the run is lost."""

    def wrap(method: Any) -> Any:
        @wraps(method)
        def run(self: Any, *arguments: Any, **options: Any) -> Any:
            with told(self._peers.check):
                return within(partial(method, self, *arguments, **options), what, check=self._peers.check)

        return run

    return wrap


def _begun(work: Callable[[], Result]) -> Future[Result]:
    """Run ``work`` in a thread, which does not keep the process from ending."""
    future: Future[Result] = Future()

    def fill() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whatever it is, the waiting thread raises it
            future.set_exception(error)

    thread = Thread(target=fill, daemon=True)
    thread.start()
    _BEGUN.add(thread)
    return future


def unfinished() -> list[Thread]:
    """The threads of work that an error or an interrupt did not wait for."""
    return [thread for thread in _BEGUN if thread.is_alive()]
