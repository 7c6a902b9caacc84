"""Appends to one of the logs of `ordering`, in a process of its own, as often as it can or at a rate.

    python -m tests.bench.ordering_writer URL

Each line on stdin is an order (JSON); the answer is a line on stdout. It ends with its input.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from eventstore import arrays
from eventstore.arrays import Bigints, Bytes, Texts, Uuids

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE = b"x" * 300
FLUSH = b"SELECT pg_logical_emit_message(true, 'flush', '')"
"""Writes a few bytes and waits until they, and all before them, are on the disk."""


def append(connection: psycopg.Connection, order: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out one order; tell how many events in which time, and when each first event of a commit was answered."""
    statement = f"SELECT {order['log']}.append(%s, %s, %s, %s, %s)".encode()
    size, begin_at = order["size"], order["begin_at"]
    connection.execute(b"SET commit_delay = %d" % (order["flush_ms"] * 1000))
    connection.execute("SET commit_siblings = 0")
    answered: dict[str, float] = {}
    commits, now = 0, time.monotonic()
    time.sleep(max(0.0, begin_at - now))
    end_at = begin_at + order["duration_s"]
    while (now := time.monotonic()) < end_at or not commits:
        ids = [uuid4() for _ in range(size)]
        rows = (
            Uuids.of([each.bytes for each in ids]),
            Bigints.of([1] * size),
            Texts.of(["Happened/1"] * size),
            Bytes.of([STATE] * size),
        )
        connection.execute(statement, (*rows, order["notice"]), prepare=True)
        if order["late"]:
            connection.execute(FLUSH, prepare=True)
        commits += 1
        if order["pause_s"]:
            answered[ids[0].hex] = time.monotonic()
            time.sleep(max(0.0, begin_at + commits * order["pause_s"] - time.monotonic()))
    return {"events": commits * size, "took_s": time.monotonic() - begin_at, "answered": answered}


def main(url: str) -> None:
    """Answer orders."""
    with psycopg.connect(url, autocommit=True) as connection:
        arrays.register(connection)
        for line in sys.stdin:
            print(json.dumps(append(connection, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
