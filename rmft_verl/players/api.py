"""A model behind an OpenAI-compatible endpoint: one chat request per round, with the environment's dialogue.

The openai client repeats a request after 408, 409, 429, 5xx, a timeout or a lost connection, up to ``RETRIES`` times,
at growing intervals or when the server's Retry-After says. This module repeats it as often if the body is no chat
completion. What still fails is an ``EndpointError``: data of its episode. The key comes from an environment variable
and is removed from every message.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rmft_verl.types import Observation, Reply, RunError

Result = TypeVar("Result")

PREFIX = "api:"
"""Prefix of a player that is a model behind an endpoint: ``api:MODEL``."""

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_KEY = "OPENAI_API_KEY"

NO_KEY = "no-key-was-set"
"""Sent to endpoints other than OpenAI's if no key is set: the client must send one, but they seldom check it."""

RETRIES = 8
"""Repetitions of a request; with the client's waits of at most 8 seconds they take about 40 seconds."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before a request is repeated if the body was no completion; each wait is twice the one before."""


async def gathered(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results in order. If one raises, the others are cancelled and have ended before this passes it on."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cap_name(url: str) -> str:
    """The name of the cap on a reply: OpenAI's newer models refuse max_tokens, most other servers know only that."""
    return "max_completion_tokens" if url == OPENAI_URL else "max_tokens"


Counted = Callable[[list[str], int, int], None]
"""Called with the texts of an answered dialogue, its reply included, and its prompt and reply tokens."""


class EndpointError(Exception):
    """A request that failed for good. It ends its own episode only."""


@dataclass(frozen=True)
class ApiSettings:
    """An endpoint and the settings of requests."""

    model: str
    base_url: str = ""
    """Empty = ``OPENAI_BASE_URL`` if set, else OpenAI's address."""
    api_key_env: str = DEFAULT_KEY
    concurrency: int = 8
    """Episodes played at once."""
    max_tokens: int = 512
    """Maximum tokens of one reply; a reply that reaches it is cut."""
    temperature: float | None = None
    """None = not sent, so the endpoint's default applies."""
    top_p: float | None = None
    timeout: float = 120.0
    """Seconds of silence after which a request is given up."""

    @property
    def url(self) -> str:
        return self.base_url or os.environ.get("OPENAI_BASE_URL", "") or OPENAI_URL

    @property
    def shown_url(self) -> str:
        """The address without user, password and query, safe to write to a file."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def key(self) -> str:
        """The key. ``RunError`` if none is set, unless the variable is the default and the endpoint not OpenAI's."""
        if key := os.environ.get(self.api_key_env, ""):
            return key
        if self.api_key_env == DEFAULT_KEY and self.url != OPENAI_URL:
            return NO_KEY
        raise RunError(
            f"{PREFIX}{self.model}: the environment variable {self.api_key_env} is not set: put the key for "
            f"{self.shown_url} into it, or name another with --api-key-env"
        )

    def check(self) -> None:
        """``RunError`` if these settings cannot work, before anything is sent."""
        if importlib.util.find_spec("openai") is None:
            raise RunError(f"{PREFIX}{self.model} needs the openai package: pip install 'rmft_verl[api]'")
        if not self.model:
            raise RunError(f"player {PREFIX!r} names no model: write {PREFIX}MODEL")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise RunError(f"--base-url {self.url}: write the whole address, such as http://localhost:8000/v1")
        self.key()


@dataclass
class Usage:
    """Answered requests and the tokens that the endpoint counted."""

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0

    def dollars(self, price_in: float, price_out: float) -> float:
        """Cost in dollars; prices are per million tokens."""
        return (self.prompt_tokens * price_in + self.reply_tokens * price_out) / 1e6


class Endpoint:
    """One client for all episodes of one event loop; close it in the same loop."""

    def __init__(self, settings: ApiSettings) -> None:
        import openai

        self._openai = openai
        self._settings = settings
        self._key = settings.key()
        self._client = openai.AsyncOpenAI(
            api_key=self._key, base_url=settings.url, max_retries=RETRIES, timeout=settings.timeout
        )
        self._options: dict[str, Any] = {"model": settings.model, cap_name(settings.url): settings.max_tokens}
        if settings.temperature is not None:
            self._options["temperature"] = settings.temperature
        if settings.top_p is not None:
            self._options["top_p"] = settings.top_p
        self.usage = Usage()
        self.refused = ""
        """The error if the endpoint refused the key or the model: no request can succeed."""

    async def close(self) -> None:
        await self._client.close()

    def take_usage(self) -> Usage:
        """The usage since the last call."""
        taken, self.usage = self.usage, Usage()
        return taken

    async def reply(self, messages: list[dict[str, str]], counted: Counted | None = None) -> Reply:
        """The model's answer to a dialogue. ``EndpointError`` if there is none after all retries."""
        wait, useless = FIRST_WAIT, b""
        for attempt in range(RETRIES + 1):
            if attempt:
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            body = await self._ask(messages)
            if body is None:
                return Reply(exhausted=True)
            before = self.usage.prompt_tokens, self.usage.reply_tokens
            reply = self._read(body)
            if reply is not None:
                if counted is not None:
                    used = self.usage.prompt_tokens - before[0], self.usage.reply_tokens - before[1]
                    counted([message["content"] for message in messages] + [reply.text], *used)
                return reply
            useless = body
        found = useless[:200].decode("utf-8", "replace")
        raise self._error(f"{RETRIES + 1} answers were no chat completion, the last: {found!r}")

    async def _ask(self, messages: list[dict[str, str]]) -> bytes | None:
        """The body of the answer; None if the dialogue no longer fits the model's context."""
        create: Any = self._client.chat.completions.with_raw_response.create
        try:
            response = await create(messages=messages, **self._options)
        except self._openai.APIStatusError as error:
            if error.status_code == 400 and "context" in str(error) and "length" in str(error):
                return None
            said = self._error(f"status {error.status_code}: {error.message}")
            if error.status_code in (401, 403, 404):
                self.refused = str(said)
            raise said from None
        except self._openai.APIConnectionError as error:  # timeouts too
            cause = f" ({error.__cause__})" if str(error.__cause__ or "") else ""
            raise self._error(f"{error.message}{cause} after {RETRIES} retries") from None
        return bytes(response.content)

    def _read(self, body: bytes) -> Reply | None:
        """The reply in ``body``; None if it is no chat completion."""
        try:
            answer = json.loads(body)
            choice = answer["choices"][0]
            text, reason = choice["message"].get("content") or "", choice.get("finish_reason")
            usage: Mapping[str, int] = answer.get("usage") or {}
            counted = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
        if not isinstance(text, str):
            return None
        self.usage.requests += 1
        self.usage.prompt_tokens += counted[0]
        self.usage.reply_tokens += counted[1]
        # A lone surrogate could not be sent back in the next request.
        return Reply(text=text.encode("utf-8", "replace").decode(), cut=reason == "length")

    def _error(self, text: str) -> EndpointError:
        """The error as one line, without the key, which the server may have repeated."""
        line = " ".join(text.split())[:500].replace(self._key, "***")
        return EndpointError(f"{self._settings.shown_url}: {line}")


class ApiPlayer:
    """The player of one episode: sends the whole dialogue every round, its own replies included."""

    def __init__(self, endpoint: Endpoint, model: str, counted: Counted | None = None) -> None:
        self.name = f"{PREFIX}{model}"
        self._endpoint, self._counted = endpoint, counted
        self._messages: list[dict[str, str]] = []

    async def act(self, observation: Observation) -> Reply:
        if observation.fresh:
            self._messages = []
        self._messages += [message._asdict() for message in observation.messages]
        reply = await self._endpoint.reply(self._messages, self._counted)
        self._messages.append({"role": "assistant", "content": reply.text})
        return reply
