"""The provider of a hosted model, known by its address: what it takes, what it costs and how much may be spent."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from rmft_verl.config import ConfigError
from rmft_verl.players.api import DEFAULT_KEY, NO_KEY, OPENAI_URL

SUFFIX = re.compile(r"[A-Za-z0-9-]{1,40}")
"""The shortest limit of the providers."""


@dataclass(frozen=True)
class Provider:
    """How one provider's files and jobs differ (docs/hosted.md says what of it was checked, and when)."""

    name: str
    key_env: str = DEFAULT_KEY
    fewest: int = 10
    """Examples that a file must hold."""
    most_tokens: int = 0
    """Tokens that an example may hold; 0 = ``model.context`` alone limits it."""
    mark: bool = False
    """Whether a file must begin with a byte-order mark."""
    names_answers: bool = True
    """Whether an answer carries the name of the model that was asked."""
    notice: str = ""
    """What a user must know before money is spent."""
    other_api: str = ""
    """What its jobs are asked for instead of OpenAI's /fine_tuning/jobs; such a provider is refused."""


PROVIDERS = {
    "api.openai.com": Provider(
        "OpenAI",
        most_tokens=65536,
        notice="OpenAI winds fine-tuning down: new users start no jobs, and nobody does from 2027-01-06 on",
    ),
    "openai.azure.com": Provider(
        "Azure OpenAI",
        "AZURE_OPENAI_API_KEY",
        mark=True,
        names_answers=False,
        notice="Azure samples a new model only once you have deployed it: deploy it under its own name while the run "
        "waits for it; a deployment costs by the hour, which hosted.budget does not count",
    ),
    "api.together.ai": Provider("Together", other_api="/fine-tunes"),
    "api.together.xyz": Provider("Together", other_api="/fine-tunes"),
    "api.fireworks.ai": Provider("Fireworks", other_api="/accounts/NAME/supervisedFineTuningJobs"),
    "api.mistral.ai": Provider("Mistral", other_api="jobs with other fields, which Mistral has deprecated"),
}
"""Host -> its provider; subdomains belong to it."""

OWN = Provider("a server of your own")
"""Any other address: a server with OpenAI's /files, /fine_tuning/jobs and /chat/completions."""


@dataclass(frozen=True)
class Hosted:
    """The settings ``hosted.*``. Prices are dollars per million tokens."""

    base_url: str = OPENAI_URL
    """Address of the API, such as http://localhost:8000/v1; its host says which provider it is."""
    key_env: str = ""
    """Environment variable of the key; empty = the provider's."""
    budget: float = math.nan
    """Dollars that the run may spend in all. Checked before every upload and every episode; required."""
    price_in: float = math.nan
    """Tokens of prompts; take the price of fine-tuned models. Required, as the other two."""
    price_out: float = math.nan
    price_train: float = math.nan
    """Trained tokens: those of the file, times the epochs."""
    rate: float | None = None
    """The job's ``learning_rate_multiplier``; None = the provider chooses."""
    weights: bool = True
    """Whether weights are written. Without them replies that were asked again are trained on too."""
    suffix: str = "rmft"
    """Part of the new model's name. Nothing else that could name a person or a machine is sent."""
    poll: float = 30.0
    """Seconds between two looks at a job."""
    patience: float = 86400.0
    """Seconds that a job, or the deployment of its model, may take; then the run stops and can go on later."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Hosted:
        """The settings of the mapping ``hosted``; raises ``ConfigError`` for a key, a type or a value that is wrong."""
        hints = get_type_hints(cls)
        for key, value in given.items():
            if key not in hints:
                raise ConfigError(f"hosted.{key}={value}: no such setting. Known: {', '.join(hints)}.")
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = {str: isinstance(value, str), bool: isinstance(value, bool), float: number}
            if not fits.get(hints[key], value is None or number):
                raise ConfigError(f"hosted.{key}={value!r}: write a {getattr(hints[key], '__name__', 'number')}")
        settings = cls(**given)
        settings._check()
        return settings

    def _check(self) -> None:
        for key in ("budget", "price_in", "price_out", "price_train"):
            if math.isnan(getattr(self, key)):
                raise ConfigError(
                    f"hosted.{key} is not set: write dollars{'' if key == 'budget' else ' per million tokens'}: so "
                    "the run knows what it spends (0 for a server of your own)"
                )
        for key in ("budget", "price_in", "price_out", "price_train", "poll", "patience"):
            value = getattr(self, key)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"hosted.{key}={value}: must be at least 0")
        if self.rate is not None and not self.rate > 0:
            raise ConfigError(f"hosted.rate={self.rate}: must be above 0, or left out")
        if not SUFFIX.fullmatch(self.suffix):
            raise ConfigError(f"hosted.suffix={self.suffix!r}: at most 40 letters, digits and dashes")
        if not re.match(r"https?://", self.base_url):
            raise ConfigError(
                f"hosted.base_url={self.base_url!r}: write the whole address, such as http://localhost:8000/v1"
            )
        if "@" in self.base_url or "?" in self.base_url:
            raise ConfigError("hosted.base_url holds a password or a query: put the key into an environment variable")
        if self.provider.other_api:
            raise ConfigError(
                f"hosted.base_url={self.base_url}: {self.provider.name} trains by {self.provider.other_api}, not by "
                "/fine_tuning/jobs: give it what rmft-verl export RUN --format chat-jsonl writes"
            )

    @property
    def provider(self) -> Provider:
        host = urlsplit(self.base_url).hostname or ""
        return next((PROVIDERS[known] for known in PROVIDERS if f".{host}".endswith(f".{known}")), OWN)

    @property
    def key_variable(self) -> str:
        return self.key_env or self.provider.key_env

    def key(self) -> str:
        """The key. ``ConfigError`` if none is set, unless the server is one's own and no variable was named."""
        if key := os.environ.get(self.key_variable, ""):
            return key
        if self.provider is OWN and not self.key_env:
            return NO_KEY
        raise ConfigError(
            f"hosted.key_env: the environment variable {self.key_variable} is not set; put the key for {self.base_url} "
            "into it, or name another"
        )

    def dollars(self, prompt: float = 0, reply: float = 0, trained: float = 0) -> float:
        """What so many tokens cost."""
        return (prompt * self.price_in + reply * self.price_out + trained * self.price_train) / 1e6
