"""A store with very many executions, quickly: real ones are run, then copied under other ids inside the database.

A copy has the events, index rows, timers and leases of its model, with its own id wherever the model's stands, inside
the events too. Columns are read from the database's catalogue, so nothing here knows the schema but its word for an id.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

IDS = ("originator_id", "execution_id")
"""Columns that say to which execution a row belongs."""
ASSIGNED = "notification_id"
"""The column that the database gives a new value itself."""
STATE = "state"
"""The column whose text has the id too, in the events of `stored_events`."""
LOG = "stored_events"


def multiply(url: str, models: Sequence[UUID], count: int) -> list[UUID]:
    """Add `count` copies of the models, in turn; return the new ids, in the order of the models and then of copies.

    Nothing else may work on the store meanwhile. Events must not be compressed or encrypted.
    """
    shares = [count // len(models) + (place < count % len(models)) for place in range(len(models))]
    ids = {model: [uuid4() for _ in range(share)] for model, share in zip(models, shares, strict=True)}
    copy = _on_sqlite if url.startswith("sqlite") else _on_postgres
    copy(url, ids)
    return [new for news in ids.values() for new in news]


def _on_postgres(url: str, ids: dict[UUID, list[UUID]]) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE copies (model uuid, id uuid, number serial)")
        with connection.cursor().copy("COPY copies (model, id) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["uuid", "uuid"])
            for model, news in ids.items():
                for new in news:
                    copy.write_row((model, new))
        connection.execute("ANALYZE copies")
        columns: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t"
            " USING (table_schema, table_name) WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
            " ORDER BY c.ordinal_position"
        ):
            columns.setdefault(table, []).append(column)
        for table, names in columns.items():
            for key in set(IDS) & set(names):
                _copy_rows(connection, table, key, [name for name in names if name != ASSIGNED])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _copy_rows(connection: psycopg.Connection, table: str, key: str, names: Sequence[str]) -> None:
    values = {
        key: sql.SQL("copies.id"),
        STATE: sql.SQL(
            "convert_to(replace(convert_from(source.state, 'UTF8'), copies.model::text, copies.id::text), 'UTF8')"
        ),
    }
    if table != LOG:
        del values[STATE]
    order = sql.SQL("copies.number, source.originator_version" if table == LOG else "copies.number")
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {values} FROM copies JOIN {table} source ON source.{key} = model"
            " ORDER BY {order}"
        ).format(
            table=sql.Identifier(table),
            columns=sql.SQL(", ").join(map(sql.Identifier, names)),
            values=sql.SQL(", ").join([values.get(name, sql.Identifier("source", name)) for name in names]),
            key=sql.Identifier(key),
            order=order,
        )
    )


def _on_sqlite(url: str, ids: dict[UUID, list[UUID]]) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -500000;")
        connection.execute("CREATE TEMPORARY TABLE copies (model, id, model_text, id_text)")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO copies VALUES (?, ?, ?, ?)",
            ((model.hex, new.hex, str(model), str(new)) for model, news in ids.items() for new in news),
        )
        tables = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
            for key in set(IDS) & set(names):
                connection.execute(_copying(table, key, names))
        connection.execute("COMMIT")
        connection.executescript("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);")
    finally:
        connection.close()


def _copying(table: str, key: str, names: Sequence[str]) -> str:
    values = {key: "copies.id"}
    if table == LOG:
        values[STATE] = "CAST(replace(CAST(source.state AS TEXT), copies.model_text, copies.id_text) AS BLOB)"
    chosen = ", ".join(values.get(name, f"source.{name}") for name in names)
    order = "copies.rowid, source.originator_version" if table == LOG else "copies.rowid"
    return (
        f"INSERT INTO main.{table} ({', '.join(names)})"  # noqa: S608  names of our own tables
        f" SELECT {chosen} FROM copies CROSS JOIN main.{table} source ON source.{key} = copies.model ORDER BY {order}"
    )
