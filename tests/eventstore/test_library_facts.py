"""What we know of the eventsourcing library by having run it. A change in any of these changes a decision of ours."""

import asyncio
import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import (
    ConnectionUnavailableError,
    IntegrityError,
    InterfaceError,
    JSONTranscoder,
    Mapper,
    OperationalError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteConnectionPool, SQLiteDatastore
from psycopg.conninfo import conninfo_to_dict

from tests.support.stores import Noted, append, opened

TABLE = """
    SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_name = 'stored_events' ORDER BY ordinal_position
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'stored_events' ORDER BY indexname"
OPTIONS = "SELECT reloptions FROM pg_class WHERE relname = 'stored_events'"


@contextmanager
def library(url: str, **options: Any) -> Iterator[PostgresApplicationRecorder]:
    given = conninfo_to_dict(url)
    datastore = PostgresDatastore(
        str(given["dbname"]),
        str(given["host"]),
        str(given.get("port", 5432)),
        str(given["user"]),
        str(given.get("password", "")),
        **options,
    )
    try:
        yield PostgresApplicationRecorder(datastore)
    finally:
        datastore.close()


async def listened_to(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        listeners = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        while not connection.execute(listeners).fetchall():  # noqa: ASYNC110  the server sets no event
            await asyncio.sleep(0.01)


def stored(execution_id: UUID, version: int) -> StoredEvent:
    return StoredEvent(execution_id, version, "Noted/1", b"{}")


def test_its_pool_has_one_connection_unless_told() -> None:
    assert inspect.signature(PostgresDatastore).parameters["pool_size"].default == 1


def test_its_database_functions_take_no_lock(fresh_postgres_url: str) -> None:
    """So a reader that tails the log skips events: never POSTGRES_ENABLE_DB_FUNCTIONS."""
    with library(fresh_postgres_url) as recorder:
        assert "EXCLUSIVE MODE" in str(recorder.lock_table_statements)
        function = recorder.sql_create_pg_function_insert_events.as_string()
        assert "INSERT INTO" in function
        assert "LOCK TABLE" not in function


def test_it_reports_its_own_success_as_a_conflict_after_a_lost_answer(fresh_postgres_url: str) -> None:
    """It tries again by itself. Ours never does: the writer must know which outcome is uncertain."""
    with library(fresh_postgres_url) as recorder:
        recorder.create_table()
        original, lost = recorder.datastore.get_connection, [OperationalError("the answer was lost")]

        @contextmanager
        def losing() -> Iterator[Any]:
            with original() as connection:
                yield connection
            if lost:
                raise lost.pop()

        recorder.datastore.get_connection = losing  # type: ignore[method-assign]  # loses one answer
        one = uuid4()
        with pytest.raises(IntegrityError):
            recorder.insert_events([stored(one, 1)])
        assert len(recorder.select_events(one)) == 1


def test_its_insert_takes_a_version_beyond_a_gap(tmp_path: Path) -> None:
    """Its recorders check uniqueness only; the port of ours asks for no gaps."""
    datastore = SQLiteDatastore(str(tmp_path / "log.db"))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    recorder.insert_events([stored(uuid4(), 7)])
    datastore.close()


def test_its_mapper_takes_no_structs() -> None:
    with pytest.raises(TypeError, match="__dict__"):
        Mapper[UUID](JSONTranscoder()).to_stored_event(Noted("a"))  # type: ignore[arg-type]  # the very point


def test_its_stored_events_have_no_position() -> None:
    """So `read`, which tells positions, is a query of ours."""
    assert [field.name for field in fields(StoredEvent)] == ["originator_id", "originator_version", "topic", "state"]


def test_its_sqlite_pool_is_stuck_after_a_writer_could_not_connect(tmp_path: Path) -> None:
    """So we ask it for connections without naming a purpose, and keep to one writer ourselves."""
    pool = SQLiteConnectionPool(db_name=str(tmp_path / "missing" / "log.db"))
    with pytest.raises(InterfaceError):
        pool.get_connection(is_writer=True)
    with pytest.raises(ConnectionUnavailableError):
        pool.get_connection(is_writer=True, timeout=0)
    with pytest.raises(InterfaceError):
        pool.get_connection(timeout=0)


def test_its_sqlite_transactions_do_not_lock_at_once(tmp_path: Path) -> None:
    """A check of the version before the insert could be overtaken: ours begin IMMEDIATE."""
    path = str(tmp_path / "log.db")
    datastore = SQLiteDatastore(path)
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    with datastore.transaction(commit=True) as cursor:
        cursor.execute("SELECT 1")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    other.close()
    datastore.close()


async def test_our_postgres_table_is_the_librarys(fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        with library(fresh_postgres_url) as recorder:
            recorder.create_table()
        theirs = [connection.execute(query).fetchall() for query in (TABLE, INDEXES, OPTIONS)]
        connection.execute("DROP TABLE stored_events")
        async with opened(fresh_postgres_url):
            assert [connection.execute(query).fetchall() for query in (TABLE, INDEXES, OPTIONS)] == theirs


async def test_our_sqlite_table_is_the_librarys(tmp_path: Path) -> None:
    def columns(path: Path) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path)
        found = connection.execute("SELECT * FROM pragma_table_info('stored_events')").fetchall()
        connection.close()
        return found

    datastore = SQLiteDatastore(str(tmp_path / "theirs.db"))
    SQLiteApplicationRecorder(datastore).create_table()
    datastore.close()
    async with opened(f"sqlite:///{tmp_path}/ours.db"):
        pass
    assert columns(tmp_path / "ours.db") == columns(tmp_path / "theirs.db") != []


async def test_the_library_reads_our_postgres_log_and_is_woken_by_it(fresh_postgres_url: str) -> None:
    """Its subscription misses what is written before it listens, and then waits for ever."""
    one = uuid4()
    async with opened(fresh_postgres_url) as store:
        await store.log.insert([append(one, count=2)])
        with library(fresh_postgres_url, pool_size=3) as recorder:
            events = recorder.select_events(one)
            assert [(event.originator_version, event.topic) for event in events] == [(1, "Noted/1"), (2, "Noted/1")]
            with recorder.subscribe(gt=recorder.max_notification_id()) as subscription:
                await listened_to(fresh_postgres_url)
                await store.log.insert([append(one, 2)])
                assert (await asyncio.to_thread(next, subscription)).originator_version == 3


async def test_the_library_reads_our_sqlite_log(tmp_path: Path) -> None:
    one = uuid4()
    async with opened(f"sqlite:///{tmp_path}/log.db") as store:
        await store.log.insert([append(one, count=2)])
        datastore = SQLiteDatastore(str(tmp_path / "log.db"))
        recorder = SQLiteApplicationRecorder(datastore)
        assert [event.originator_id for event in recorder.select_events(one)] == [one, one]
        assert [found.id for found in recorder.select_notifications(1, 10)] == [1, 2]
        datastore.close()
