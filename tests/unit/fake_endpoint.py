"""A small OpenAI-compatible server on loopback that answers as a test tells it to, for the tests beside this file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def said(text: str | None, finish: str = "stop") -> Answer:
    """A chat completion: 7 prompt tokens and 2 reply tokens."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return Answer(body=json.dumps(body).encode())


def failed(status: int, message: str = "no luck") -> Answer:
    """An error; where it may be repeated, at once."""
    return Answer(status, json.dumps({"error": {"message": message}}).encode(), {"retry-after-ms": "1"})


@dataclass
class FakeEndpoint:
    """``behave(n, body)`` answers the n-th request, counted from 0."""

    url: str
    behave: Callable[[int, dict[str, Any]], Answer]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@contextmanager
def serving(behave: Callable[[int, dict[str, Any]], Answer]) -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint("", behave)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                n = len(fake.bodies)
                fake.bodies.append(body)
                fake.keys.append(self.headers["authorization"])
            answer = fake.behave(n, body)
            time.sleep(answer.delay)
            self.send_response(answer.status)
            for name, value in ({"content-type": "application/json"} | answer.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that gave up has closed its connection

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
