"""A service on loopback that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Answer:
    """One answer; `hang_up` closes the connection without one, `after` is waited for first."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    after: threading.Event | None = None
    came: threading.Event | None = None
    """Set when the request is there."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """Answers are given in order, the last one for ever."""

    url: str
    answers: deque[Answer] = field(default_factory=lambda: deque([Answer()]))
    asked: list[Asked] = field(default_factory=list)

    def answer(self, *answers: Answer) -> None:
        """Set what comes next."""
        self.answers = deque(answers)


@contextmanager
def service() -> Iterator[Service]:
    """Run a service on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            running.asked.append(Asked(self.command, self.path, headers, body))
            answer = running.answers.popleft() if len(running.answers) > 1 else running.answers[0]
            if answer.came is not None:
                answer.came.set()
            if answer.after is not None:
                answer.after.wait()
            if answer.hang_up:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any  # noqa: N815  the library's names

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Service(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
