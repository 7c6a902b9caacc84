"""The faults of Postgres that leave it running: sessions ended, connections used up, a disk that is slow or full.

The disk is slow by a setting of Postgres that delays every commit. It is full by a trigger that refuses appends with
the code that Postgres has for it: files that truly cannot grow are for tests/faults/test_disk.py, on SQLite.

Comes from: `faults`. Goes to: `servers`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg

from tests.faults.chaos.fleet import now_s

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from tests.faults.chaos.world import World

Session: TypeAlias = psycopg.AsyncConnection[Any]

TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'sagad' AND pid <> pg_backend_pid()"
)
IN_COMMIT = " AND state = 'active' AND query ILIKE '%sagad_append%'"
MOST_CONNECTIONS = 300
MOST_LOST_COMMITS = 10
CATCH_S = 60.0
"""How long a fault waits for the daemons to do what it disturbs."""
COMMIT_DELAY_S = 0.1
"""The longest that Postgres can be told."""
FULL = """
CREATE SEQUENCE chaos_refused;
CREATE FUNCTION chaos_full() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM nextval('chaos_refused');
    RAISE EXCEPTION 'planned: no space left on device' USING ERRCODE = 'disk_full';
END
$$;
CREATE TRIGGER chaos_full BEFORE INSERT ON stored_events FOR EACH STATEMENT EXECUTE FUNCTION chaos_full();
"""
REFUSED = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM chaos_refused"
EMPTIED = "DROP TRIGGER chaos_full ON stored_events; DROP FUNCTION chaos_full; DROP SEQUENCE chaos_refused;"


async def commit(world: World, dice: random.Random) -> str | None:
    """End the backends that are appending, again and again: an append is cut off, or its answer is lost.

    Half of the time commits are slow meanwhile, so most of what is ended has committed.
    """
    server, slow, length_s = world.servers["postgres"], dice.random() < 0.5, world.length_s(dice) / 2
    ended = 0
    async with server.busy, AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session(server.url))
        if slow:
            await stack.enter_async_context(_slow_commits(session))
        began = now_s()
        while ended < MOST_LOST_COMMITS and now_s() < began + (length_s if ended else CATCH_S):
            ended += await _count(session, TERMINATE + IN_COMMIT)
            await asyncio.sleep(0.005)
    return f"{ended} backends in mid-commit{', which was slow' if slow else ''}" if ended else None


async def backends(world: World, _: random.Random) -> str | None:
    """End all sessions of the daemons at once."""
    server = world.servers["postgres"]
    async with server.busy, _session(server.url) as session:
        ended = await _some(session, TERMINATE, now_s() + CATCH_S)
    return f"{ended} backends" if ended else None


async def exhaust(world: World, dice: random.Random) -> str | None:
    """Use up all connections of Postgres, and end those of the daemons again and again, so that none gets in."""
    server, length_s = world.servers["postgres"], world.length_s(dice)
    async with server.busy, AsyncExitStack() as stack:
        held: list[Session] = []
        if not await _fill(server.url, held, stack):
            return None
        until_s, ended = now_s() + length_s, 0
        while now_s() < until_s:
            ended += await _count(held[0], TERMINATE)
            await _fill(server.url, held, stack)
            await asyncio.sleep(0.02)
    return f"{len(held)} connections held, {ended} backends ended"


async def _fill(url: str, held: list[Session], stack: AsyncExitStack) -> bool:
    """Connect until there is no room; tell whether it came to that."""
    while len(held) < MOST_CONNECTIONS:
        try:
            held.append(await stack.enter_async_context(_session(url)))
        except psycopg.OperationalError as error:
            if "too many clients" not in str(error):
                raise
            return True
    return False


async def slow_disk(world: World, dice: random.Random) -> str | None:
    """Let commits take a tenth of a second longer."""
    server = world.servers["postgres"]
    async with server.busy, _session(server.url) as session, _slow_commits(session):
        await asyncio.sleep(world.length_s(dice))
        took_s, until_s = 0.0, now_s() + CATCH_S
        while took_s < COMMIT_DELAY_S and now_s() < until_s:  # one that a delayed commit takes along is quicker
            began = now_s()
            await session.execute("SELECT pg_logical_emit_message(true, 'chaos', 'a commit')")
            took_s = now_s() - began
    return f"a commit takes {took_s * 1000:.0f} ms" if took_s >= COMMIT_DELAY_S else None


async def full_disk(world: World, dice: random.Random) -> str | None:
    """Refuse all appends."""
    server, length_s = world.servers["postgres"], world.length_s(dice)
    async with server.busy, _session(server.url) as session:
        await session.execute(FULL)
        try:
            began = now_s()
            await asyncio.sleep(length_s)
            refused = await _some(session, REFUSED, began + CATCH_S)
        finally:
            await session.execute(EMPTIED)
    return f"{refused} appends refused" if refused else None


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[Session]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as session:
        yield session


@asynccontextmanager
async def _slow_commits(session: Session) -> AsyncIterator[None]:
    try:
        await _configure(session, f"SET commit_delay = {COMMIT_DELAY_S * 1e6:.0f}", "SET commit_siblings = 0")
        yield
    finally:
        await _configure(session, "RESET commit_delay", "RESET commit_siblings")


async def _configure(session: Session, *changes: str) -> None:
    for change in changes:
        await session.execute(f"ALTER SYSTEM {change}".encode())
    await session.execute("SELECT pg_reload_conf()")


async def _count(session: Session, query: str) -> int:
    row = await (await session.execute(query.encode())).fetchone()
    return int(row[0]) if row else 0


async def _some(session: Session, query: str, until_s: float) -> int:
    """Return what the query counts, as soon as that is not nothing, or at this time."""
    while True:
        count = await _count(session, query)
        if count or now_s() > until_s:
            return count
        await asyncio.sleep(0.05)
