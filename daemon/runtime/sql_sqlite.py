"""An SQLite file that workflows use; statements run in threads, each on a connection of its own: opening one is cheap.

Comes from: `databases`. Goes to: SQLite.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from daemon.nodes.statements import with_colons
from daemon.runtime.sql_failures import of_sqlite, timed_out
from daemon.runtime.sql_values import Collected, no_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.nodes.statements import Statement
    from daemon.settings_outside import Connection

_MOST_INTEGER = 2**63


class Sqlite:
    """One file, shared by all steps."""

    def __init__(self, name: str, settings: Connection, url: Callable[[], str]) -> None:
        self._name = name
        self._settings = settings
        self._url = url
        self._free = asyncio.Semaphore(settings.max_connections)

    async def run(self, statement: Statement) -> Any:
        """Run it in a transaction of its own. Raises `StepFailure`."""
        limit_s = statement.timeout.total_seconds() if statement.timeout else self._settings.timeout_s
        path = self._url().removeprefix("sqlite:///")
        async with self._free:
            try:
                # The same connection is used by one thread after another, never by two; but `interrupt` may be.
                connection = sqlite3.connect(path, timeout=limit_s, isolation_level=None, check_same_thread=False)
                working = asyncio.create_task(asyncio.to_thread(self._work, connection, statement))
                try:
                    done, _ = await asyncio.wait({working}, timeout=limit_s)
                    if not done:
                        connection.interrupt()
                    return await asyncio.shield(working)
                except asyncio.CancelledError:
                    connection.interrupt()
                    await asyncio.wait({working})
                    raise
                finally:
                    connection.close()
            except sqlite3.Error as error:
                failure = of_sqlite(error)
                raise timed_out(self._name, limit_s) if failure.code == "sql_timeout" else failure from error

    async def close(self) -> None:
        """Nothing is kept open."""

    def _work(self, connection: sqlite3.Connection, statement: Statement) -> Any:
        read_only = self._settings.read_only or statement.read_only
        connection.execute("pragma foreign_keys = on")
        if read_only:
            connection.execute("pragma query_only = on")
        connection.execute("begin" if read_only else "begin immediate")
        try:
            result = _result(connection, statement)
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        connection.execute("commit")
        return result


def _result(connection: sqlite3.Connection, statement: Statement) -> Any:
    params = {name: _adapted(value) for name, value in statement.params.items()}
    with closing(connection.cursor()) as cursor:  # one that is left open keeps its lock
        cursor.execute(with_colons(statement.query), params)
        if statement.fetch == "none":
            return {"rows": max(cursor.rowcount, 0)}
        if cursor.description is None:
            raise no_rows()
        collected = Collected(statement)
        collected.name([column[0] for column in cursor.description])
        for row in cursor:
            collected.take(row)
        return collected.result()


def _adapted(value: Any) -> Any:
    match value:
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)
        case int() if not -_MOST_INTEGER <= value < _MOST_INTEGER:
            return str(value)
        case _:
            return value
