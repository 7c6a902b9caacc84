"""A Postgres that workflows use: a pool of connections, opened when first needed and again after they broke.

Each connection is asked whether it lives before it is lent; a dead one is replaced. A password that has changed is used
by the next connection that is opened.

Comes from: `databases`. Goes to: Postgres.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from daemon.runtime.sql_failures import lost, of_postgres, unavailable
from daemon.runtime.sql_values import Collected, no_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from daemon.nodes.statements import Statement
    from daemon.settings_outside import Connection

IDLE_S = 300.0
"""A connection that nobody has used for so long is closed."""
ANSWER_S = 2.0
"""How much later than its own timeout the database may answer before it counts as gone."""

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]


class Postgres:
    """One database, shared by all steps."""

    def __init__(self, name: str, settings: Connection, url: Callable[[], str]) -> None:
        """`url` is asked for each connection, and may raise `SecretUnknown`."""
        self._name = name
        self._settings = settings
        self._url = url
        self._pool: Pool | None = None

    async def run(self, statement: Statement) -> Any:
        """Run it in a transaction of its own. Raises `StepFailure`."""
        limit_s = statement.timeout.total_seconds() if statement.timeout else self._settings.timeout_s
        try:
            pool = await self._opened()
            async with asyncio.timeout(limit_s + ANSWER_S), pool.connection() as connection:
                return await _in_transaction(connection, statement, limit_s, read_only=self._settings.read_only)
        except PoolTimeout as error:
            raise unavailable(self._name, f"no connection within {self._settings.connect_timeout_s:g} s") from error
        except psycopg.Error as error:
            raise of_postgres(error) from error
        except TimeoutError as error:
            raise lost(self._name, limit_s + ANSWER_S) from error

    async def close(self) -> None:
        """Close the connections; harmless when there are none."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> Pool:
        if self._pool is None:
            self._url()  # a secret that is missing is told now, not by a pool that never fills
            settings = self._settings
            self._pool = pool = AsyncConnectionPool(
                self._conninfo,
                kwargs={
                    "autocommit": True,
                    "application_name": "sagad",
                    "connect_timeout": max(round(settings.connect_timeout_s), 2),
                },
                min_size=0,
                max_size=settings.max_connections,
                timeout=settings.connect_timeout_s,
                max_idle=IDLE_S,
                check=AsyncConnectionPool.check_connection,
                name=self._name,
                open=False,
            )
            await pool.open()
        return self._pool

    async def _conninfo(self) -> str:
        return self._url()


async def _in_transaction(
    connection: psycopg.AsyncConnection[Any], statement: Statement, limit_s: float, *, read_only: bool
) -> Any:
    prepare = f"set local statement_timeout = {max(round(limit_s * 1000), 1)}"
    if read_only or statement.read_only:
        prepare += "; set transaction read only"
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(prepare.encode())
        query, params = statement.query.encode(), _adapted(statement.params)
        if statement.fetch == "none":
            await cursor.execute(query, params)
            return {"rows": max(cursor.rowcount, 0)}
        collected = Collected(statement)
        rows = cursor.stream(query, params)
        try:
            async for row in rows:
                collected.name([column.name for column in cursor.description or ()])
                collected.take(row)
        except psycopg.ProgrammingError as error:
            if error.sqlstate is None:  # what psycopg itself says of a statement that gives no rows
                raise no_rows() from error
            raise
        finally:
            await rows.aclose()  # type: ignore[attr-defined]  # an async generator; its rest is not fetched
        return collected.result()


def _adapted(params: Mapping[str, Any]) -> dict[str, Any]:
    """Have mappings, and lists of them, go as `jsonb`; other lists go as arrays by themselves."""
    return {name: Jsonb(value) if _has_mapping(value) else value for name, value in params.items()}


def _has_mapping(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_mapping, value)))
