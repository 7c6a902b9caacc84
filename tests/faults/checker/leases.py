"""The table of leases, read as it stands: the port tells a daemon only what it needs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from uuid import UUID

import psycopg

QUERY = "SELECT execution_id FROM leases"


@dataclass(frozen=True)
class LeaseTable:
    """The leases of the store at this URL: SQLite or Postgres."""

    url: str

    def executions(self) -> list[UUID]:
        """Return the executions that have a lease, whoever holds it."""
        parts = urlsplit(self.url)
        if parts.scheme == "sqlite":
            file = unquote(parts.path).removeprefix("/")
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                return [_id(value) for (value,) in database.execute(QUERY)]
        with psycopg.connect(self.url) as connection:
            return [_id(value) for (value,) in connection.execute(QUERY)]


def lease_table(url: str) -> LeaseTable | None:
    """Return the table of a store that others can read; None for one in memory, and for a schema without leases."""
    if url.startswith("memory:"):
        return None
    table = LeaseTable(url)
    try:
        table.executions()
    except psycopg.errors.UndefinedTable:
        return None
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such table"):
            raise
        return None
    return table


def _id(value: object) -> UUID:
    match value:
        case UUID():
            return value
        case bytes():
            return UUID(bytes=value)
        case _:
            return UUID(str(value))
