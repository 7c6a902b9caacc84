"""Where the stores of tests are: each has one of its own, so tests may run beside each other.

Comes from: `flow`, tests/support. Goes to: eventstore/store.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from daemon.testing.errors import Misused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import sql

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


@contextmanager
def new_store(kind: str) -> Iterator[str]:
    """Give the URL of an empty store: `memory`, `sqlite`, or on the Postgres server of a URL. It is gone at the end.

    On Postgres it is a database, which the URL's role must be allowed to create.
    """
    scheme = kind.partition("://")[0]
    match scheme:
        case "memory":
            yield "memory://"
        case "sqlite":
            with TemporaryDirectory(prefix="sagad-test-", ignore_cleanup_errors=True) as folder:
                yield f"sqlite:///{Path(folder, 'store.db')}"
        case "postgresql" | "postgres":
            with new_database(kind) as url:
                yield url
        case _:
            raise Misused(f"store {kind!r}: use memory, sqlite, or postgresql://user:password@host/database")


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """Create a database (about 50 ms) and drop it at the end, along with whatever is still connected to it."""
    from psycopg import sql  # noqa: PLC0415  most tests run in memory

    name = sql.Identifier(new_name := make_unique_name("sagad").replace("-", "_"))
    _administer(server_url, sql.SQL("CREATE DATABASE {}").format(name))
    try:
        yield urlsplit(server_url)._replace(path=f"/{new_name}").geturl()
    finally:
        _administer(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def make_unique_name(prefix: str) -> str:
    """Make a name that nothing else bears, in this run or in any other: for databases, queues, topics, groups."""
    return f"{prefix}-{_WORKER}-{secrets.token_hex(5)}"


def _administer(server_url: str, statement: sql.Composed) -> None:
    import psycopg  # noqa: PLC0415  as above

    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
