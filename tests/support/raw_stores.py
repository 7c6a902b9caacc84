"""All that a store holds, byte by byte, to look for what should not be in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from eventstore.store import Store

_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"


async def raw(store: Store, store_url: str) -> bytes:
    """Return every value of every table: of SQLite the files as they are, of Postgres the rows, of memory the dicts."""
    if store_url.startswith("sqlite"):
        path = Path(store_url.removeprefix("sqlite:///"))
        return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))
    if store_url.startswith("postgres"):
        return await _rows(store_url)
    return _dicts(store)


async def _rows(url: str) -> bytes:
    found: list[bytes] = []
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for (name,) in await (await connection.execute(_TABLES)).fetchall():
            rows = await connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
            found += [_bytes(value) for row in await rows.fetchall() for value in row]
    assert len(found) > 10
    return b"\n".join(found)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _dicts(store: Store) -> bytes:
    inner = vars(store.log)["_log"]
    beside = [
        vars(each).get("_snapshots", vars(each).get("_results", each)) for each in (store.snapshots, store.results)
    ]
    streams = vars(store.streams).get("_streams", store.streams)
    held = (vars(inner), *map(vars, beside), vars(streams), vars(store.index), vars(store.slots), vars(store.subjects))
    return repr(held).encode()
