"""An HTTP service on loopback with a way to it that holds one request, before or after it was carried out."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

HOP = {"connection", "transfer-encoding", "expect", "keep-alive"}


class Way:
    """The way to the service. Each request that is held is never answered."""

    def __init__(self, to: str) -> None:
        self.url = ""
        self.to = urlsplit(to).netloc
        self.held = threading.Event()
        self.free = threading.Event()
        self._method, self._when = "", "before"

    def hold(self, method: str, when: Literal["before", "after"]) -> None:
        """Hold the next request of this method; `held` is set when it is there."""
        self.free.clear()
        self.held.clear()
        self._method, self._when = method, when

    def let_go(self) -> None:
        """Hold nothing any more."""
        self._method = ""
        self.free.set()

    def stands(self, method: str, when: str) -> bool:
        """Stand here if this is to be held; tell whether it was."""
        if (method, when) != (self._method, self._when):
            return False
        self._method = ""
        self.held.set()
        self.free.wait()
        return True


@contextmanager
def way_to(url: str) -> Iterator[Way]:
    """Run a way to the service at this address."""
    way = Way(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            if way.stands(self.command, "before"):
                self.close_connection = True
                return
            inner = http.client.HTTPConnection(way.to)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            inner.request(self.command, self.path, body, headers)
            answer = inner.getresponse()
            data = answer.read()
            inner.close()
            if way.stands(self.command, "after"):
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            parts: list[bytes] = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815  the base's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    way.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield way
    finally:
        way.let_go()
        server.shutdown()
        thread.join()
        server.server_close()
