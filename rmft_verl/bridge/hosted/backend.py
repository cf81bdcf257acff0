"""The ``Backend`` of a model behind a fine-tuning API: it plays by chat requests and learns by fine-tuning jobs.

A hosted model has no token ids: its trajectories have no ``tokens``, and it trains on the texts that it said.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import time
import uuid
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path

from rmft_verl.bridge.backend import OnProgress, StaleSamplerError
from rmft_verl.bridge.hosted.jobs import Jobs, Look, method
from rmft_verl.bridge.hosted.journal import LOST, Entry, Journal, Tally
from rmft_verl.bridge.hosted.rollouts import Parts, Table, reply_tokens
from rmft_verl.bridge.hosted.rules import broken, sequences
from rmft_verl.bridge.hosted.settings import Hosted
from rmft_verl.config import HOSTED, Config
from rmft_verl.env import Env
from rmft_verl.players.api import ApiSettings
from rmft_verl.store.dialogues import Line, chat_lines, jsonl, preference, unweighted
from rmft_verl.store.run_dir import write_text
from rmft_verl.store.tracking import warn
from rmft_verl.types import Batch, Message, RolloutRequest, RunError, Trajectory, content_hash

NO_COMMON = "its two plays have no reply that differs behind the same messages"
"""Why a pair gives no preference."""

FOLDER, STATE = "hosted", "hosted.json"
"""Folder of the journal in a run directory, and the file that stands for weights: the model's name and its updates."""


class HostedBackend:
    """One hosted model. ``update`` may be called again for an update that was cut: it goes on where that was."""

    def __init__(self, config: Config, env_class: type[Env], examples: Sequence[Message], directory: Path) -> None:
        self._config, self._settings = config, Hosted.of(config.hosted)
        self._journal, self._jobs = Journal(directory / FOLDER), Jobs(self._settings)
        self._base = self._model = config.model.path.removeprefix(HOSTED)
        self._before, self._version, self._ready = "", 0, -1
        rollout = config.rollout
        self._table = Table(
            env_class, rollout.history, rollout.on_invalid, examples, self._journal.count, self._check_spent
        )

    def rollout(
        self, requests: Sequence[RolloutRequest], version: int, on_progress: OnProgress | None = None
    ) -> list[Trajectory]:
        if version != self._ready:
            raise StaleSamplerError(f"the model with {version} updates is asked for, and {self._ready} is in use")
        rollout = self._config.rollout
        settings = ApiSettings(
            model=self._model,
            base_url=self._settings.base_url,
            api_key_env=self._settings.key_variable,
            concurrency=self._config.hardware.max_num_seqs,
            max_tokens=rollout.reply_tokens,
            temperature=requests[0].temperature,
            top_p=None if rollout.top_p == 1 else rollout.top_p,
        )
        parts = Parts(self._journal.folder, requests, version)
        return asyncio.run(self._table.play_all(settings, requests, version, parts, on_progress))

    def render(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """As they are: what trains is their text."""
        return list(trajectories)

    def update(self, batch: Batch, seed: int) -> dict[str, float]:
        lines, dropped = self._lines(batch)
        entry = self._finished(self._begun(lines, seed % 2**31))
        self._before, self._model, self._version = self._model, entry.model, entry.update
        reported = {} if entry.loss is None else {"update/loss": entry.loss}
        if self._config.rollout.player == "model":
            reported["rollout/tokens"] = reply_tokens(self._journal.folder)
        return reported | {
            "update/samples": float(entry.examples),
            "update/dropped": float(dropped),
            "update/tokens": float(entry.paid),
            "update/tokens_estimated": float(entry.tokens),
            "update/dollars": self._settings.dollars(trained=entry.paid),
            "update/spent": self._journal.spent(self._settings),
        }

    def _lines(self, batch: Batch) -> tuple[list[Line], int]:
        """The examples of an update that the provider takes, and how many it would not."""
        known = self._settings.provider
        most = min(known.most_tokens or self._config.model.context, self._config.model.context)
        lines: list[Line] = []
        faults: list[str] = []
        for line in self._told(batch):
            fault = broken(line, max(self._tokens(line)), most) if line else NO_COMMON
            if line is None or fault:
                faults.append(fault)
            else:
                lines.append(line if self._settings.weights else unweighted(line))
        if faults:
            warn(f"{len(faults)} examples are left out, no job could train on them; the first: {faults[0]}")
        if len(lines) < known.fewest:
            raise RunError(
                f"{len(lines)} examples are left to train on, and {known.name} takes {known.fewest} or more: raise "
                "rollout.scenarios or selection.keep in a new run; nothing was uploaded"
            )
        return lines, len(faults)

    def _told(self, batch: Batch) -> Iterator[Line | None]:
        """The lines of a file; None for a pair whose replies differ only after their inputs do."""
        history, played = self._config.rollout.history, batch.trajectories
        if self._config.update.loss == "dpo":
            return (preference(*pair, history) for pair in zip(played[0::2], played[1::2], strict=True))
        return (line for trajectory in played for line in chat_lines(trajectory, history))

    def _tokens(self, line: Line) -> list[float]:
        """Estimates for the dialogues that a line trains on."""
        return [
            self._journal.tally.tokens([message["content"] for message in messages]) for messages in sequences(line)
        ]

    def _begun(self, lines: Sequence[Line], seed: int) -> Entry:
        """The update's entry in the journal: the one on file, or a new one if the budget allows it."""
        n, update = self._version + 1, self._config.update
        base = self._base if update.start == "base" else self._model
        text = jsonl(lines)
        sha = hashlib.sha256(text.encode()).hexdigest()
        digest = content_hash([sha, base, method(update, self._settings.rate), seed])
        found = self._journal.entry(n)
        if found is not None and found.status not in LOST:
            if found.digest != digest:
                raise RunError(
                    f"{self._journal.path(n)} is the job of other dialogues or settings: restore the trajectories, "
                    "or move that file away to pay for a new job"
                )
            return found
        tokens = round(update.epochs * sum(sum(self._tokens(line)) for line in lines))
        self._afford(tokens)
        if found is not None:
            self._journal.set_aside(found)
        write_text(self._journal.data(n), text)
        return self._journal.write(Entry(n, digest, uuid.uuid4().hex, base, len(lines), tokens))

    def _afford(self, tokens: int) -> None:
        spent, cost = self._journal.spent(self._settings), self._settings.dollars(trained=tokens)
        if spent + cost > self._settings.budget:
            raise RunError(
                f"hosted.budget={self._settings.budget:g}: ${spent:,.2f} are spent and the next job costs about "
                f"${cost:,.2f} ({tokens:,} trained tokens): nothing was uploaded; raise it and start again"
            )

    def _check_spent(self) -> None:
        if (spent := self._journal.spent(self._settings)) > self._settings.budget:
            raise RunError(
                f"hosted.budget={self._settings.budget:g}: ${spent:,.2f} are spent: raise it and start again, which "
                "goes on; finished episodes are on file"
            )

    def _finished(self, entry: Entry) -> Entry:
        """Bring an entry to its end, from wherever it is; every step is on file before the next one."""
        journal, update = self._journal, self._config.update
        if not entry.file:
            mark = BOM_UTF8 if self._settings.provider.mark else b""
            content = mark + journal.data(entry.update).read_bytes()
            file = self._jobs.upload(f"rmft-{entry.tag}.jsonl", content)
            entry = journal.write(dataclasses.replace(entry, file=file))
        if not entry.job:
            seed = int(entry.digest, 16) % 2**31
            job = self._jobs.start(entry.base, entry.file, method(update, self._settings.rate), seed)
            entry = journal.write(dataclasses.replace(entry, job=job, status="accepted"))
        if not entry.model:
            entry = self._waited(entry)
        return entry

    def _waited(self, entry: Entry) -> Entry:
        until = time.monotonic() + self._settings.patience
        while True:
            look = self._jobs.look(entry.job)
            if look is not None and (look.status != entry.status or look.model):
                print(f"job {entry.job} of update {entry.update}: {look.status}", flush=True)
                entry = self._journal.write(self._seen(entry, look))
            if entry.model:
                return entry
            if look is not None and look.status in LOST:
                raise RunError(
                    f"job {entry.job} of update {entry.update} is {look.status}"
                    f"{f' ({look.why})' if look.why else ''}: mend that; started again, the run asks for a new job"
                )
            if time.monotonic() > until:
                raise RunError(
                    f"job {entry.job} of update {entry.update} is {entry.status} after hosted.patience="
                    f"{self._settings.patience:g} s: start again to go on waiting, or end it with rmft-verl cancel RUN"
                )
            time.sleep(self._settings.poll)

    def _seen(self, entry: Entry, look: Look) -> Entry:
        """The entry with what the provider says now; its model is there only with the loss of its training."""
        model = look.model if look.status == "succeeded" else ""
        loss = self._jobs.loss(entry.job) if model else None
        return dataclasses.replace(entry, status=look.status, model=model, trained=look.trained, loss=loss)

    def sync(self, version: int) -> dict[str, float]:
        """Wait until the model can be sampled; it may be deployed some time after its job."""
        if version != self._version:
            raise StaleSamplerError(f"the model with {version} updates is asked for, and there are {self._version}")
        until = time.monotonic() + (self._settings.patience if version else 0)
        while (answer := self._jobs.answers(self._model)) is None:
            if time.monotonic() > until:
                raise RunError(f"{self._settings.base_url} has no model {self._model}: start again when it is there")
            time.sleep(self._settings.poll)
        name, prompt, reply = answer
        self._journal.count(Tally(1, prompt, reply))
        if self._settings.provider.names_answers and name == self._before != self._model:
            raise StaleSamplerError(f"{self._model} was asked, and {name}, the model before the update, has answered")
        self._ready = version
        return {}

    def save(self, directory: Path) -> None:
        """Write the model's name: the provider keeps the weights."""
        directory.mkdir(parents=True)
        state = {
            "model": self._model,
            "updates": self._version,
            "base": self._base,
            "base_url": self._settings.base_url,
        }
        (directory / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")

    save_state = save

    def load_state(self, directory: Path) -> None:
        state = json.loads((directory / STATE).read_text(encoding="utf-8"))
        self._model, self._version, self._ready = str(state["model"]), int(state["updates"]), -1

    def close(self) -> None:
        self._jobs.close()


def cancel_jobs(config: Config, directory: Path) -> list[str]:
    """End the running jobs of a run; returns a line for each."""
    journal, jobs = Journal(directory / FOLDER), Jobs(Hosted.of(config.hosted))
    running = [entry for entry in journal.entries() if entry.job and not entry.model and entry.status not in LOST]
    try:
        return [f"job {entry.job} of update {entry.update}: {jobs.cancel(entry.job)}" for entry in running]
    finally:
        jobs.close()
