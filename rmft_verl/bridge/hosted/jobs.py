"""Files and fine-tuning jobs of an OpenAI-compatible provider. What costs is looked for before it is asked for again.

The answer to a request may be lost after the provider has accepted it. So no request that creates something is repeated
blindly: the file is found again by its random name, the job by its file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rmft_verl.algo import METHODS
from rmft_verl.bridge.hosted.settings import Hosted
from rmft_verl.config import UpdateConfig
from rmft_verl.players import api
from rmft_verl.types import RunError

LOOKS = 3
"""Times that a list is read after an answer was lost, ``hosted.poll`` apart, before the request counts as refused."""


@dataclass(frozen=True)
class Look:
    """A job as the provider sees it now."""

    status: str
    model: str
    trained: int | None
    why: str
    """The provider's words if it failed."""


def method(update: UpdateConfig, rate: float | None) -> dict[str, Any]:
    """The ``method`` of a job: what ``update.loss`` is called there, with its hyperparameters.

    ``update.batch`` counts dialogues, a job counts lines of its file, and a line of ``dpo`` is a pair.
    """
    hyper: dict[str, Any] = {"n_epochs": update.epochs, "batch_size": update.batch // METHODS[update.loss].together}
    if rate is not None:
        hyper["learning_rate_multiplier"] = rate
    if update.loss == "dpo":
        hyper["beta"] = update.beta
    kind = "dpo" if update.loss == "dpo" else "supervised"
    return {"type": kind, kind: {"hyperparameters": hyper}}


class Jobs:
    """One client. All its errors are ``RunError`` in one line without the key."""

    def __init__(self, settings: Hosted) -> None:
        import openai

        self._openai, self._settings, self._key = openai, settings, settings.key()
        self._client = openai.OpenAI(api_key=self._key, base_url=settings.base_url, max_retries=api.RETRIES)
        self._once = self._client.with_options(max_retries=0)

    def upload(self, name: str, content: bytes) -> str:
        """The id of the uploaded file ``name``."""

        def find() -> str | None:
            files = self._client.files.list(purpose="fine-tune")
            return next((file.id for file in files if file.filename == name), None)

        def create() -> str:
            return str(self._once.files.create(file=(name, content), purpose="fine-tune").id)

        return self._find_or_create(find, create, "the upload")

    def start(self, model: str, file: str, how: Any, seed: int) -> str:
        """The id of the job that trains ``model`` on ``file`` by ``method``; a file never gets a second job."""

        def find() -> str | None:
            return next(
                (job.id for job in self._client.fine_tuning.jobs.list(limit=100) if job.training_file == file), None
            )

        def create() -> str:
            job = self._once.fine_tuning.jobs.create(
                model=model, training_file=file, method=how, seed=seed, suffix=self._settings.suffix
            )
            return str(job.id)

        return self._find_or_create(find, create, "the start of the job")

    def look(self, job: str) -> Look | None:
        """The job now; None if the provider does not answer."""
        try:
            found = self._client.fine_tuning.jobs.retrieve(job)
        except self._openai.APIStatusError as error:
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise self._refused(f"job {job}", error) from None
            return None
        except self._openai.APIConnectionError:
            return None
        why = found.error.message if found.error is not None else ""
        return Look(found.status, found.fine_tuned_model or "", found.trained_tokens, " ".join((why or "").split()))

    def loss(self, job: str) -> float | None:
        """The training loss at the last checkpoint of a finished job; None if the provider does not report it."""
        try:
            found = self._client.fine_tuning.jobs.checkpoints.list(job).data
        except self._openai.APIError:
            return None
        last = max(found, key=lambda checkpoint: checkpoint.step_number, default=None)
        return None if last is None else last.metrics.train_loss

    def cancel(self, job: str) -> str:
        """Ask for the end of a job; returns its state."""
        try:
            return str(self._client.fine_tuning.jobs.cancel(job).status)
        except self._openai.APIError as error:
            raise self._refused(f"the end of job {job}", error) from None

    def answers(self, model: str) -> tuple[str, int, int] | None:
        """Whether ``model`` can be sampled: the name that answered and the tokens counted; None if it is not there."""
        asked: Any = [{"role": "user", "content": "Hello"}]
        try:
            cap: Any = {api.cap_name(self._settings.base_url): 1}
            told = self._client.chat.completions.create(model=model, messages=asked, **cap)
        except self._openai.NotFoundError:
            return None
        except self._openai.APIError as error:
            raise self._refused(f"model {model}", error) from None
        used = told.usage
        return str(told.model), used.prompt_tokens if used else 0, used.completion_tokens if used else 0

    def _find_or_create(self, find: Callable[[], str | None], create: Callable[[], str], what: str) -> str:
        wait, looks = api.FIRST_WAIT, 1
        try:
            for _ in range(api.RETRIES + 1):
                for look in range(looks):
                    if look:
                        time.sleep(self._settings.poll)
                    if (found := find()) is not None:
                        return found
                try:
                    return create()
                except self._openai.APIStatusError as error:
                    if error.status_code < 500 and error.status_code not in (408, 409, 429):
                        raise
                    last, looks = error, LOOKS if error.status_code >= 500 else 1
                except self._openai.APIConnectionError as error:
                    last, looks = error, LOOKS
                time.sleep(wait)
                wait = min(2 * wait, api.LONGEST_WAIT)
        except self._openai.APIError as error:
            raise self._refused(what, error) from None
        raise self._refused(what, last) from None

    def _refused(self, what: str, error: Any) -> RunError:
        said = " ".join(str(getattr(error, "message", error)).split())[:500].replace(self._key, "***")
        status = f"status {error.status_code}: " if hasattr(error, "status_code") else ""
        return RunError(
            f"{self._settings.base_url} refuses {what} ({status}{said}); mend it and start again, which goes on"
        )

    def close(self) -> None:
        self._client.close()
