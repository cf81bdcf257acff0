"""Reports a dead process of the run or a sampler that hangs in one line, instead of Ray's pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from ray import exceptions

from rmft_verl.bridge.cluster.peers import LESS
from rmft_verl.types import RunError

DEATHS = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.OutOfMemoryError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
    exceptions.LocalRayletDiedError,
)
ENGINE = "EngineDeadError"
"""vLLM's error when its engine process is gone. A worker's copy of it has the name, not the class."""

DEAD = 503
"""HTTP status of vLLM's /health when its engine is gone."""

DIRECT = build_opener(ProxyHandler({}))
"""Opens the run's own servers without the environment's proxies."""


def death(error: BaseException) -> str:
    """One line that says what has died, if ``error`` means that a process of the run has; else empty."""
    if isinstance(error, DEATHS):
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if isinstance(error, exceptions.RayTaskError):
        within = death(error.cause) if isinstance(error.cause, BaseException) else ""
        return within or (f"{ENGINE}: vLLM's engine" if ENGINE in str(error) else "")
    return f"{ENGINE}: vLLM's engine" if type(error).__name__ == ENGINE else ""


@contextmanager
def told(look: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise ``RunError`` if a process of the run dies in this block, or as a worker raised it; other errors pass.

    ``look`` is called first, and may raise one that says more.
    """
    try:
        yield
    except Exception as error:
        if found := death(error):
            look()
            raise died(found) from error
        if isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, RunError):
            raise error.cause from error  # Ray's copy says it with the worker's traceback
        raise


def died(what: str) -> RunError:
    """The ``RunError`` of a run that has lost a process."""
    return RunError(
        f"a process of the run has died ({what}). The system kills the largest one when memory runs out: see dmesg. "
        f"To need less, {LESS}"
    )


def sampler_lives(addresses: Sequence[str], patience: float = 5.0) -> None:
    """Raise ``RunError`` if a vLLM server is gone or says that its engine is gone.

    A server that is silent for ``patience`` seconds is busy, not dead. During a weight sync nothing else reports a dead
    engine: the trainer waits for it to take the next tensors.
    """
    for address in addresses:
        try:
            DIRECT.open(f"http://{address}/health", timeout=patience).close()
        except HTTPError as error:
            if error.code == DEAD:
                raise died(f"{ENGINE}: vLLM's engine") from error
        except ConnectionError as error:
            raise died("vLLM's server") from error
        except URLError as error:
            if isinstance(error.reason, ConnectionError):
                raise died("vLLM's server") from error
        except TimeoutError:  # busy
            pass


def silence(what: str, seconds: float) -> RunError:
    """The ``RunError`` of a sampler that does not answer."""
    return RunError(
        f"{what}: no reply within rollout.timeout={seconds:g} s, the sampler hangs. Start again to go on; raise "
        "rollout.timeout if a single reply may take so long"
    )
