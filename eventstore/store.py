"""Opening a store by URL: `memory://`, `sqlite:///file.db`, `sqlite:////absolute/file.db`, `postgresql://…`.

Comes from: the composition root. Goes to: `memory`, `sqlite`, `postgres`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from eventstore.errors import KeyMissing, Unusable
from eventstore.memory import MemoryIndex, MemoryLog
from eventstore.memory_archive import MemoryArchive
from eventstore.memory_dead_letters import MemoryDeadLetters
from eventstore.memory_definitions import MemoryCursors, MemoryDefinitions
from eventstore.memory_deletions import MemoryDeletions
from eventstore.memory_leases import MemoryLeases
from eventstore.memory_outside import MemoryObjects
from eventstore.memory_pins import MemoryPins
from eventstore.memory_results import MemoryResults
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.memory_streams import MemoryStreams
from eventstore.memory_usage import MemoryUsage
from eventstore.postgres import PostgresLog
from eventstore.postgres_archive import PostgresArchive
from eventstore.postgres_database import PostgresDatabase
from eventstore.postgres_deletions import PostgresDeletions
from eventstore.postgres_leases import PostgresLeases
from eventstore.queries import latest_version
from eventstore.relational import SqlCursors, SqlDefinitions, SqlIndex, SqlSnapshots
from eventstore.sealed_log import SealedLog, Vault
from eventstore.sealed_values import SealedResults, SealedSnapshots, SealedStreams
from eventstore.slot_rows import SqlSlots
from eventstore.sql_dead_letters import SqlDeadLetters
from eventstore.sql_outside import SqlObjects
from eventstore.sql_pins import SqlPins
from eventstore.sql_results import SqlResults
from eventstore.sql_streams import SqlStreams
from eventstore.sql_subjects import SqlSubjects
from eventstore.sql_usage import SqlUsage
from eventstore.sqlite import SqliteLog
from eventstore.sqlite_archive import SqliteArchive
from eventstore.sqlite_database import SqliteDatabase
from eventstore.sqlite_deletions import SqliteDeletions
from eventstore.sqlite_leases import SqliteLeases

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from eventstore.archive import Archive
    from eventstore.codec import Codec
    from eventstore.dead_letters import DeadLetters
    from eventstore.deletions import Deletions
    from eventstore.index import Index
    from eventstore.leases import Leases
    from eventstore.log import Cursors, Definitions, EventLog
    from eventstore.outside import Objects, Outside
    from eventstore.payloads import Payloads
    from eventstore.pins import Pins
    from eventstore.reads import Reads
    from eventstore.results import Results
    from eventstore.slots import Slots
    from eventstore.snapshots import Snapshots
    from eventstore.streams import Streams
    from eventstore.subjects import Subjects
    from eventstore.usage import Usage


class Schema(Protocol):
    """What opening and closing need of a database."""

    async def schema_version(self) -> int:
        """Return the version found, 0 for none."""

    async def migrate(self) -> None:
        """Bring an older schema to this program's version."""

    async def close(self) -> None:
        """Finish work in flight, free all connections."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The ports of one open store. `close` it when the writer is closed."""

    url: str
    """As given, without its password."""
    log: EventLog
    index: Index
    definitions: Definitions
    cursors: Cursors
    snapshots: Snapshots
    payloads: Payloads
    archive: Archive
    deletions: Deletions
    pins: Pins
    usage: Usage
    reads: Reads
    objects: Objects
    outside: Outside | None
    """Where payloads are that were moved out; None: nowhere."""
    leases: Leases
    results: Results
    streams: Streams
    dead_letters: DeadLetters
    slots: Slots
    subjects: Subjects
    vault: Vault
    """The keys of the subjects, ready to be used."""
    hints: Callable[[], AbstractAsyncContextManager[asyncio.Event]]
    """Gives an event that is set when something may have been appended: for `tail.follow`."""
    versions: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, int]]]
    """Returns the last version of each of these executions, of those that have events: who waits learns what moved."""
    schema: Schema | None
    """None where there is none: in memory."""

    async def migrate(self) -> None:
        """Bring the schema to this program's version; harmless when it is there, and in two processes at once."""
        if self.schema is not None:
            await self.schema.migrate()

    async def close(self) -> None:
        """Finish reads and writes in flight, free all connections; harmless when repeated."""
        if self.schema is not None:
            await self.schema.close()


def _now() -> datetime:
    return datetime.now(UTC)


async def open_store(
    url: str,
    codec: Codec,
    *,
    auto_migrate: bool = True,
    outside: Outside | None = None,
    memory_now: Callable[[], datetime] = _now,
) -> Store:
    """Open the store and check its schema; an older or empty one is migrated, unless `auto_migrate` is off.

    `outside` is where payloads are that were moved out of the database; the caller closes it, if that is needed.
    `memory_now` is the clock of a store in memory; others have their own.

    Raises Unusable for a URL or a schema that cannot work, Unavailable when the database does not answer.
    """
    scheme = urlsplit(url).scheme
    match scheme:
        case "memory":
            return _sealing(_in_memory(url, codec, outside, memory_now), codec)
        case "sqlite":
            store = _on_sqlite(url, codec, outside)
            return await _encrypted(await _ready(store, "sqlite", auto_migrate=auto_migrate), codec)
        case "postgresql" | "postgres":
            store = await _on_postgres(url, codec, outside)
            return await _encrypted(await _ready(store, "postgres", auto_migrate=auto_migrate), codec)
    raise Unusable(
        f"store URL {without_password(url)!r}: use memory://, sqlite:///file.db or postgresql://host/database"
    )


async def _ready(store: Store, dialect: str, *, auto_migrate: bool) -> Store:
    schema = store.schema
    if schema is None:
        return store
    try:
        found, known = await schema.schema_version(), latest_version(dialect)
        if found < known and auto_migrate:
            await schema.migrate()
            found = await schema.schema_version()
    except BaseException:
        await schema.close()
        raise
    if found != known:
        await schema.close()
        remedy = "run `sagad migrate`" if found < known else "run the program that wrote it, or a newer one"
        raise Unusable(f"{store.url} has schema version {found}, this program works with {known}: {remedy}")
    return store


async def _encrypted(store: Store, codec: Codec) -> Store:
    """Return the store as `_sealing` does. Raises Unusable when it is encrypted at rest by a key that is not there."""
    try:
        used = await store.subjects.at_rest()
        _check_at_rest(store, used, codec.at_rest)
        if codec.at_rest and codec.at_rest[0] not in used:
            await store.subjects.add_at_rest(codec.at_rest[0], at=_now())
    except BaseException:
        await store.close()
        raise
    return _sealing(store, codec)


def _check_at_rest(store: Store, used: Sequence[str], known: Sequence[str]) -> None:
    if missing := sorted(set(used) - set(known)):
        named = f"the key {', '.join(missing)}, which is not in [encryption] at_rest_keys"
        there = f"these are {', '.join(known)}" if known else "there is none"
        raise KeyMissing(f"{store.url} is encrypted at rest with {named}: {there}")


def _sealing(store: Store, codec: Codec) -> Store:
    """Return the store with what it writes of subjects sealed by their keys."""
    store = replace(store, log=SealedLog(store.log, codec, store.vault))
    if codec.keyring is None:
        return store
    return replace(
        store,
        snapshots=SealedSnapshots(store.snapshots, store.vault),
        streams=SealedStreams(store.streams, store.vault),
        results=SealedResults(store.results, store.vault),
    )


def _in_memory(url: str, codec: Codec, outside: Outside | None, now: Callable[[], datetime]) -> Store:
    index = MemoryIndex()
    log = MemoryLog(codec, index, outside)
    usage = MemoryUsage(log, index)
    snapshots, results, streams = MemorySnapshots(), MemoryResults(), MemoryStreams(index)
    _connect_in_memory(log, snapshots, results, streams)
    return Store(
        url=url,
        log=log,
        index=index,
        definitions=MemoryDefinitions(),
        cursors=MemoryCursors(),
        snapshots=snapshots,
        payloads=log,
        archive=MemoryArchive(log, index),
        deletions=MemoryDeletions(log, index, snapshots, streams),
        pins=MemoryPins(index),
        reads=log.reads,
        usage=usage,
        objects=MemoryObjects(log, index, usage),
        outside=outside,
        leases=MemoryLeases(index, now),
        results=results,
        streams=streams,
        dead_letters=MemoryDeadLetters(),
        slots=index.slots,
        subjects=log.subjects,
        vault=Vault(log.subjects, codec.keyring),
        hints=log.hints,
        versions=log.versions,
        schema=None,
    )


def _connect_in_memory(
    log: MemoryLog, snapshots: MemorySnapshots, results: MemoryResults, streams: MemoryStreams
) -> None:
    """Let the keys of subjects find what was made of the values of executions."""

    async def count(executions: Sequence[UUID]) -> tuple[int, int, int]:
        kept = [len(await snapshots.stored(execution_id)) for execution_id in executions]
        return sum((await log.versions(executions)).values()), sum(kept), results.count_of(executions)

    async def drop(executions: Sequence[UUID]) -> None:
        for execution_id in executions:
            await snapshots.clear(execution_id)
        results.drop_of(executions)
        streams.drop_of(executions)

    log.subjects.count, log.subjects.drop = count, drop


def _on_sqlite(url: str, codec: Codec, outside: Outside | None) -> Store:
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or parts.query or not path or path.startswith(":"):
        raise Unusable(f"store URL {url!r}: use sqlite:///file.db, or four slashes for an absolute path")
    database = SqliteDatabase(str(Path(path).absolute()))
    log = SqliteLog(database, codec, outside)
    subjects = SqlSubjects(database)
    return Store(
        url=url,
        log=log,
        index=SqlIndex(database, codec),
        definitions=SqlDefinitions(database),
        cursors=SqlCursors(database),
        snapshots=SqlSnapshots(database, codec),
        payloads=log,
        archive=SqliteArchive(database, log),
        deletions=SqliteDeletions(database, codec),
        pins=SqlPins(database),
        reads=log.reads,
        usage=SqlUsage(database),
        objects=SqlObjects(database),
        outside=outside,
        leases=SqliteLeases(database, log.news),
        results=SqlResults(database, codec),
        streams=SqlStreams(database, codec),
        dead_letters=SqlDeadLetters(database, codec),
        slots=SqlSlots(database),
        subjects=subjects,
        vault=Vault(subjects, codec.keyring),
        hints=log.hints,
        versions=log.versions,
        schema=database,
    )


async def _on_postgres(url: str, codec: Codec, outside: Outside | None) -> Store:
    database = PostgresDatabase(url)
    await database.open()
    log = PostgresLog(database, codec, outside)
    subjects = SqlSubjects(database)
    return Store(
        url=without_password(url),
        log=log,
        index=SqlIndex(database, codec),
        definitions=SqlDefinitions(database),
        cursors=SqlCursors(database),
        snapshots=SqlSnapshots(database, codec),
        payloads=log,
        archive=PostgresArchive(database, log),
        deletions=PostgresDeletions(database, codec),
        pins=SqlPins(database, "lock_log"),
        reads=log.reads,
        usage=SqlUsage(database, "lock_log"),
        objects=SqlObjects(database, "lock_log"),
        outside=outside,
        leases=PostgresLeases(database),
        results=SqlResults(database, codec),
        streams=SqlStreams(database, codec),
        dead_letters=SqlDeadLetters(database, codec),
        slots=SqlSlots(database),
        subjects=subjects,
        vault=Vault(subjects, codec.keyring),
        hints=database.hints,
        versions=log.versions,
        schema=database,
    )


def without_password(url: str) -> str:
    """Return the URL with the password, if any, made unreadable: for messages."""
    parts = urlsplit(url)
    password = parts.password
    return url if not password else url.replace(f":{password}@", ":***@", 1)
