"""The server: /v1/files, /v1/fine_tuning/jobs and /v1/chat/completions, with faults on demand.

A job validates its file by the published rules of OpenAI (``published``), then trains: supervised, or dpo.

python -m hosted_server.server MODEL_DIRECTORY PORT        (in tests/) serves until it is stopped
"""

from __future__ import annotations

import email
import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from hosted_server.published import openai_faults


class Model(Protocol):
    """What the server samples and trains: ``model.ChatModel``, or something quicker."""

    loss: float
    """Of the last step of its training."""

    def ids(self, messages: Any, asked: bool) -> tuple[list[int], list[int]]: ...

    def reply(self, messages: Any, cap: int, temperature: float, top_p: float) -> tuple[str, int, int, bool]: ...

    def trained(self, examples: Any, epochs: int, batch: int, rate: float, seed: int) -> Model: ...

    def preferring(self, pairs: Any, epochs: int, batch: int, rate: float, seed: int, beta: float) -> Model: ...


@dataclass
class Fault:
    """What goes wrong at the next ``times`` requests whose method and path begin so."""

    at: str
    """Such as ``POST /v1/files``."""
    kind: str
    """A status (``429``, ``500``), or ``lost``: the request is done, its answer never arrives."""
    times: int = 1


@dataclass
class HostedServer:
    """What a provider holds, and what it has done."""

    models: dict[str, Model]
    url: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Method and path of every one."""
    trainings: list[str] = field(default_factory=list)
    """The file of every training that has really been done."""
    said: list[tuple[int, int]] = field(default_factory=list)
    """The tokens of prompt and reply of every chat request that was answered."""
    invalid: int = 0
    """Jobs that will fail at validation."""
    endless: bool = False
    """Whether jobs run without an end."""
    undeployed: int = 0
    """Requests that a new model answers with 404 before it is there."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _absent: dict[str, int] = field(default_factory=dict)

    def fault(self, at: str) -> Fault | None:
        with self.lock:
            self.requests.append(at)
            found = next((fault for fault in self.faults if fault.times and at.startswith(fault.at)), None)
            if found:
                found.times -= 1
            return found

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        made = {"id": f"file-{uuid.uuid4().hex[:8]}", "object": "file", "bytes": len(content), "created_at": 0}
        made |= {"filename": name, "purpose": "fine-tune", "status": "processed"}
        self.files[made["id"]], self.contents[made["id"]] = made, content
        return made

    def start(self, asked: dict[str, Any]) -> dict[str, Any]:
        job: dict[str, Any] = {"id": f"ftjob-{uuid.uuid4().hex[:8]}", "object": "fine_tuning.job", "created_at": 0}
        job |= {key: asked[key] for key in ("model", "training_file", "method", "seed")}
        job |= {"status": "validating_files", "fine_tuned_model": None, "trained_tokens": None, "error": None}
        job |= {"organization_id": "org", "result_files": [], "hyperparameters": {}}
        self.jobs[job["id"]] = job
        threading.Thread(target=self._run, args=(job, asked.get("suffix", "")), daemon=True).start()
        return dict(job)

    def _run(self, job: dict[str, Any], suffix: str) -> None:
        content, kind = self.contents[job["training_file"]], job["method"]["type"]
        faults = openai_faults(content, preference=kind == "dpo")
        with self.lock:
            faults += ["The file has an invalid example"] * (self.invalid > 0)
            self.invalid = max(0, self.invalid - 1)
        if faults:
            error = {"code": "invalid_training_file", "message": faults[0], "param": None}
            job.update(error=error, status="failed")
            return
        job["status"] = "running"
        while self.endless and job["status"] != "cancelled":
            time.sleep(0.01)
        if job["status"] == "cancelled":
            return
        base, hyper = self.models[job["model"]], job["method"][kind]["hyperparameters"]
        epochs, rate = hyper["n_epochs"], hyper.get("learning_rate_multiplier", 1.0)
        examples, how = _examples(content), (epochs, hyper["batch_size"], rate, job["seed"])
        if kind == "dpo":
            model = base.preferring([tuple(pair) for pair in examples], *how, hyper["beta"])
        else:
            model = base.trained([dialogue for (dialogue,) in examples], *how)
        name = f"ft:{job['model'].split(':')[1] if ':' in job['model'] else job['model']}:{suffix}:{job['id'][6:]}"
        self.trainings.append(job["training_file"])
        self.models[name], self._absent[name] = model, self.undeployed
        tokens = epochs * sum(len(base.ids(said, asked=False)[0]) for example in examples for said in example)
        job.update(status="succeeded", fine_tuned_model=name, trained_tokens=tokens)

    def _checkpoints(self, job: dict[str, Any]) -> dict[str, Any]:
        """The one at the end of a finished job."""
        if not (name := job["fine_tuned_model"]):
            return {}
        made = {"id": "ftckpt-1", "object": "fine_tuning.job.checkpoint", "created_at": 0, "step_number": 1}
        made |= {"fine_tuning_job_id": job["id"], "fine_tuned_model_checkpoint": name}
        return {"ftckpt-1": made | {"metrics": {"step": 1, "train_loss": self.models[name].loss}}}

    def say(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = asked["model"]
        with self.lock:
            absent = self._absent.get(name, 0)
            self._absent[name] = max(0, absent - 1)
        if name not in self.models or absent:
            return 404, {"error": {"message": f"The model {name} does not exist"}}
        cap, temperature = asked.get("max_tokens", 16), asked.get("temperature", 1.0)
        text, prompt, reply, cut = self.models[name].reply(asked["messages"], cap, temperature, asked.get("top_p", 1.0))
        self.said.append((prompt, reply))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        choice["finish_reason"] = "length" if cut else "stop"
        usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
        answer = {"id": "x", "object": "chat.completion", "created": 0, "model": name, "choices": [choice]}
        return 200, answer | {"usage": usage}

    def answer(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, dict[str, Any]]:
        parts = path.partition("?")[0].removeprefix("/v1/").split("/")
        if parts == ["chat", "completions"]:
            return self.say(json.loads(body))
        if parts == ["files"]:
            return 200, self.upload(*_uploaded(body, kind)) if method == "POST" else _page(self.files)
        if parts == ["fine_tuning", "jobs"]:
            return 200, self.start(json.loads(body)) if method == "POST" else _page(self.jobs)
        job = self.jobs.get(parts[2]) if parts[:2] == ["fine_tuning", "jobs"] else None
        if job is None:
            return 404, {"error": {"message": f"nothing is at {path}"}}
        if parts[3:] == ["cancel"]:
            job["status"] = "cancelled"
        if parts[3:] == ["checkpoints"]:
            return 200, _page(self._checkpoints(job))
        return 200, dict(job)


def _examples(content: bytes) -> list[list[Any]]:
    """The dialogues of each line: one, or the preferred and the other one."""
    lines = [json.loads(line) for line in content.decode("utf-8-sig").splitlines()]
    branches = ("preferred_output", "non_preferred_output")
    return [
        [line["input"]["messages"] + line[branch] for branch in branches] if "input" in line else [line["messages"]]
        for line in lines
    ]


def _page(things: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [dict(thing) for thing in reversed(things.values())], "has_more": False}


def _uploaded(body: bytes, kind: str) -> tuple[str, bytes]:
    """File name and content of a multipart form."""
    form = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    for part in form.get_payload():
        if part.get_filename():  # type: ignore[union-attr]
            return part.get_filename(), part.get_payload(decode=True)  # type: ignore[union-attr,return-value]
    raise ValueError("no file in the form")


@contextmanager
def serving(models: dict[str, Model], port: int = 0) -> Iterator[HostedServer]:
    """A server of these models until the block ends."""
    hosted = HostedServer(models)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = hosted.fault(f"{self.command} {self.path}")
            if fault and fault.kind != "lost":
                self._send(int(fault.kind), {"error": {"message": "no luck"}})
                return
            status, answer = hosted.answer(self.command, self.path, body, self.headers.get("content-type") or "")
            if fault:
                self.close_connection = True
                self.connection.close()
                return
            self._send(status, answer)

        do_GET = do_POST = _handle

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            headers = {"content-type": "application/json", "content-length": str(len(text)), "retry-after-ms": "1"}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that gave up, or a connection that a fault has closed

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hosted.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield hosted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    import torch

    from hosted_server.model import ChatModel

    torch.set_num_threads(1)
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    with serving({directory.name: ChatModel.load(directory)}, port) as running:
        print(f"serving {directory.name} at {running.url}", flush=True)
        threading.Event().wait()
