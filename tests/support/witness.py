"""An independent service that remembers every call made to it: what handlers really did, whatever the log says.

    python -m tests.support.witness --file witness.db --port 0 [--seed N --lose 0.02]

It is a process of its own, so no kill of a daemon takes its memory. `POST /` with the header `idempotency-key` notes a
call and, for a key that is new, one effect; it answers `{"effect": n}`, the same for a repeated key. `x-attempt` tells
the attempt, `x-life` which life of a daemon calls. With `--lose` that share of answers is lost after the effect: the
connection is closed without a word. The first line on stdout is the port.

Comes from: handlers and `http` nodes of test workflows. Goes to: tests/faults/checker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS calls (key TEXT NOT NULL, attempt INT NOT NULL, life TEXT);
CREATE TABLE IF NOT EXISTS effects (effect INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
"""


class Witness:
    """The ledger, and the connections that come to it."""

    def __init__(self, database: sqlite3.Connection, *, lose: float, dice: random.Random) -> None:
        self._database = database
        self._lose = lose
        self._dice = dice
        database.executescript(_SCHEMA)

    def call(self, key: str, attempt: int, life: str | None) -> int:
        """Note a call; return the number of its effect, which is made by the first one."""
        with self._database:
            self._database.execute("INSERT INTO calls (key, attempt, life) VALUES (?, ?, ?)", (key, attempt, life))
            self._database.execute("INSERT OR IGNORE INTO effects (key) VALUES (?)", (key,))
        found = self._database.execute("SELECT effect FROM effects WHERE key = ?", (key,)).fetchone()
        return int(found[0])

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while headers := await _headers(reader):
                await reader.readexactly(int(headers.get("content-length", "0")))
                if "idempotency-key" not in headers:
                    writer.write(_answer("400 Bad Request", {"error": "no idempotency-key"}))
                    continue
                attempt = int(headers.get("x-attempt", "0"))
                effect = self.call(headers["idempotency-key"], attempt, headers.get("x-life"))
                if self._dice.random() < self._lose:
                    break
                writer.write(_answer("200 OK", {"effect": effect}))
                await writer.drain()
        writer.close()


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    """Return the headers of the next request, names in lower case; empty at the end of the connection."""
    request = await reader.readline()
    if not request:
        return {}
    headers = {":": request.decode("latin-1")}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def _answer(status: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


@dataclass(frozen=True)
class Running:
    """A witness at work."""

    port: int
    file: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/"


@contextmanager
def running(file: Path, *, lose: float = 0.0, seed: int = 0) -> Iterator[Running]:
    """Run a witness for the block; its file stays."""
    options = ["--file", str(file), "--lose", str(lose), "--seed", str(seed)]
    process = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "tests.support.witness", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Running(int(process.stdout.readline()), file)
    finally:
        process.terminate()
        process.communicate()


async def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lose", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with closing(sqlite3.connect(arguments.file)) as database:
        dice = random.Random(arguments.seed)  # noqa: S311  repeatable
        witness = Witness(database, lose=arguments.lose, dice=dice)
        server = await asyncio.start_server(witness.connected, "127.0.0.1", arguments.port)
        print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  whoever started us reads it
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
