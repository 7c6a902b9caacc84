"""A TCP proxy that can be made to misbehave, in a process of its own: the network between a daemon and a server.

    python -m tests.support.proxy --to 127.0.0.1:5432 [--port 0]

Each line on stdin is a mode, with JSON for its parameters; each is answered by a line on stdout, the first of which is
the port. The modes, which hold until the next one, for connections that are open and for new ones:

    pass                      hand on everything
    cut                       close all connections at once (reset), then hand on
    refuse                    close all connections, and new ones at once
    delay {"s": 0.2}          hand on everything so much later
    drip {"bytes_per_s": 50}  hand on slowly
    blackhole                 take everything, hand on nothing; what was taken is handed on afterwards
    deaf                      half open: what clients send arrives, no answer comes back until the mode ends, and then
                              the connections that lost an answer are closed
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MODES = ("pass", "cut", "refuse", "delay", "drip", "blackhole", "deaf")
_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Connections to one server, and what happens to them."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._mode = "pass"
        self._parameters: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    def set(self, mode: str, parameters: dict[str, Any]) -> None:
        """Behave so from now on."""
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}")
        if mode in ("cut", "refuse"):
            self._reset_all()
        self._mode = "pass" if mode == "cut" else mode
        self._parameters = parameters
        self._changed.set()
        self._changed = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client with the server, until one of them leaves."""
        if self._mode == "refuse":
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        ends = {writer, far_writer}
        self._open |= ends
        up = asyncio.create_task(self._pump(reader, far_writer, answers=False))
        down = asyncio.create_task(self._pump(far_reader, writer, answers=True))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            self._open -= ends
            for end in ends:
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not await self._hand_on(data, writer, answers=answers):
                    return

    async def _hand_on(self, data: bytes, writer: asyncio.StreamWriter, *, answers: bool) -> bool:
        """Hand on as the mode wants it; False when the connection must be closed."""
        while self._mode == "blackhole":
            await self._changed.wait()
        if self._mode == "deaf" and answers:
            await self._changed.wait()
            return False
        match self._mode:
            case "delay":
                await asyncio.sleep(self._parameters["s"])
            case "drip":
                await self._drip(data, writer)
                return True
        writer.write(data)
        await writer.drain()
        return True

    async def _drip(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        rate = self._parameters["bytes_per_s"]
        step = max(1, rate // 10)
        for start in range(0, len(data), step):
            if self._mode != "drip":
                writer.write(data[start:])
                break
            writer.write(data[start : start + step])
            await writer.drain()
            await asyncio.sleep(step / rate)
        await writer.drain()

    def _reset_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close as a broken network does: the other side gets a reset, not an end."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class ProxyProcess:
    """A proxy at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._said())

    def set(self, mode: str, **parameters: Any) -> None:
        """Behave so from now on; returns when it does."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{mode} {json.dumps(parameters)}\n")
        self._process.stdin.flush()
        said = self._said()
        assert said == mode, said

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def running(target: str, *, port: int = 0) -> Iterator[ProxyProcess]:
    """Run a proxy to `host:port` for the block."""
    process = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "tests.support.proxy", "--to", target, "--port", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield ProxyProcess(process)
    finally:
        process.terminate()
        process.communicate()


async def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    host, _, port = arguments.to.rpartition(":")
    proxy = Proxy(host, int(port))
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", arguments.port)
    _say(str(server.sockets[0].getsockname()[1]))
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := (await orders.readline()).decode():
        mode, _, parameters = line.strip().partition(" ")
        proxy.set(mode, json.loads(parameters or "{}"))
        _say(mode)
    server.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
