"""Several writers on one Postgres log: whoever follows it sees every event once, in order of position, none skipped.

Twice: by schedule, where each commit is held at its very end (positions taken, rows written, nothing visible) until the
schedule lets it go, so that a seed is always the same interleaving; and in a free race. Each is also run with the log's
lock taken away, and then does find events that a tail has skipped: so the tests can fail.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from eventstore.log import Append, EventLog, Recorded
from eventstore.store import Store
from eventstore.tail import follow
from tests.support.stores import append, opened

WRITERS = 4
SEEDS = range(4)
STEPS = 25
GATE = 77
"""Class of the advisory locks at which commits are held; the number within it is the commit's."""
HOLD = f"""
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared({GATE}, ('x' || right(new.originator_id::text, 8))::bit(32)::int);
        RETURN NULL;
    END
    $$;
    CREATE CONSTRAINT TRIGGER held AFTER INSERT ON stored_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
"""
NO_LOCK = "CREATE OR REPLACE FUNCTION sagad_lock_log() RETURNS void LANGUAGE sql AS 'SELECT'"
WAITING = """
    SELECT classid::int, objid::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def batch_of(number: int, rng: random.Random) -> list[Append]:
    """Make a few executions with a few events each; the last half of their ids is the number of the commit."""
    return [append(UUID(int=(place << 64) + number), count=rng.randint(1, 9)) for place in range(rng.randint(1, 3))]


class Tail:
    """One reader of the whole log, that reads when it is told to."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.seen: list[Recorded] = []

    async def read(self) -> None:
        """Read to the end of what is visible."""
        while found := await self.log.read_all(after_position=self.seen[-1].position if self.seen else 0, limit=3):
            self.seen += found


class Schedule:
    """Begins appends, lets commits go and has tails read, in an order that its seed alone decides."""

    def __init__(self, seed: int, stores: Sequence[Store], gates: AsyncConnection[tuple[int, int]]) -> None:
        self.rng = random.Random(seed)  # noqa: S311  schedules, not secrets
        self.free = [store.log for store in stores[:WRITERS]]
        self.tails = [Tail(store.log) for store in stores[WRITERS:]]
        self.gates = gates
        self.begun = seed * STEPS
        self.under_way: dict[int, tuple[asyncio.Task[None], EventLog]] = {}

    async def run(self) -> None:
        """Take all steps, then let everything end."""
        for tail in self.tails:
            await tail.read()
        for _ in range(STEPS):
            held = await self.held()
            choices = [*([self.begin] if self.free else ()), *([self.let_go] if held else ()), self.read]
            await self.rng.choice(choices)()
        while self.under_way:
            await self.let_go()
        for tail in self.tails:
            await tail.read()

    async def begin(self) -> None:
        """Have an idle writer append; its commit will be held."""
        self.begun += 1
        log = self.free.pop(self.rng.randrange(len(self.free)))
        await self.gates.execute("SELECT pg_advisory_lock(%s, %s)", (GATE, self.begun))
        self.under_way[self.begun] = (asyncio.create_task(log.insert(batch_of(self.begun, self.rng))), log)

    async def let_go(self) -> None:
        """Let one of the held commits through, and wait until it has been answered."""
        number = self.rng.choice(await self.held())
        await self.gates.execute("SELECT pg_advisory_unlock(%s, %s)", (GATE, number))
        task, log = self.under_way.pop(number)
        await task
        self.free.append(log)

    async def read(self) -> None:
        """Have one of the tails read."""
        await self.rng.choice(self.tails).read()

    async def held(self) -> list[int]:
        """Return which commits are held, once every append under way is seen to wait: here, or for the log's lock."""
        while True:
            waiting = await (await self.gates.execute(WAITING)).fetchall()
            for task, _ in self.under_way.values():
                if task.done():
                    await task
            if len(waiting) == len(self.under_way):
                return sorted(number for kind, number in waiting if kind == GATE)
            await asyncio.sleep(0.001)


@asynccontextmanager
async def many(url: str, count: int) -> AsyncIterator[list[Store]]:
    """Open the store as often as that, each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(url)) for _ in range(count)]


def alter(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def by_schedule(url: str, *before: str) -> list[tuple[int, list[Recorded], list[Recorded]]]:
    """Return for each seed and tail what it saw and what the log held in the end."""
    outcomes = []
    async with many(url, WRITERS + 2) as stores:
        alter(url, HOLD, *before)
        async with await AsyncConnection.connect(url, autocommit=True) as gates:
            for seed in SEEDS:
                schedule = Schedule(seed, stores, gates)
                await schedule.run()
                held = list(await stores[0].log.read_all(limit=100_000))
                outcomes += [(seed, tail.seen, held) for tail in schedule.tails]
    return outcomes


async def test_no_schedule_makes_a_tail_skip(fresh_postgres_url: str) -> None:
    outcomes = await by_schedule(fresh_postgres_url)
    assert [seed for seed, seen, held in outcomes if seen != held] == []
    assert len(outcomes[-1][-1]) > len(SEEDS) * STEPS / 2


async def test_without_the_lock_schedules_make_tails_skip(fresh_postgres_url: str) -> None:
    """Most of them, and always the same ones: a schedule depends on nothing but its seed."""
    outcomes = await by_schedule(fresh_postgres_url, NO_LOCK)
    skipping = [seed for seed, seen, held in outcomes if len(seen) < len(held)]
    assert len(set(skipping)) > len(SEEDS) / 2
    for _, seen, held in outcomes:
        assert [event for event in held if event in seen] == seen


async def race(
    stores: Sequence[Store], seed: int, *, after_position: int
) -> tuple[list[list[Recorded]], list[Recorded]]:
    """Let all writers append as fast as they can; return what each tail saw and what the log holds."""
    rng = random.Random(seed)  # noqa: S311  schedules, not secrets

    async def write(store: Store, number: int) -> None:
        for turn in range(15):
            await store.log.insert(batch_of((seed * WRITERS + number) * 100 + turn + 1, rng))

    seen: list[list[Recorded]] = [[], []]
    tails = stores[WRITERS:]

    async def watch(store: Store, into: list[Recorded], limit: int) -> None:
        batches = follow(
            store.log, after_position=after_position, wake=asyncio.Event(), poll_interval_s=0.0005, limit=limit
        )
        async with aclosing(batches):  # type: ignore[type-var]  # an async generator behind its protocol
            async for batch in batches:
                into += batch

    async with asyncio.TaskGroup() as group:
        watching = [
            group.create_task(watch(store, into, limit))
            for store, into, limit in zip(tails, seen, (2, 1000), strict=True)
        ]
        await asyncio.gather(*(write(store, number) for number, store in enumerate(stores[:WRITERS])))
        head = await stores[0].log.head()
        while any(not into or into[-1].position < head for into in seen):  # noqa: ASYNC110  the tails poll too
            await asyncio.sleep(0.001)
        for task in watching:
            task.cancel()
    return seen, list(await stores[0].log.read_all(after_position=after_position, limit=100_000))


async def test_racing_writers_make_no_tail_skip(fresh_postgres_url: str) -> None:
    async with many(fresh_postgres_url, WRITERS + 2) as stores:
        for seed in range(5):
            seen, held = await race(stores, seed, after_position=await stores[0].log.head())
            assert [tail == held for tail in seen] == [True, True], seed


async def test_without_the_lock_a_race_makes_tails_skip(fresh_postgres_url: str) -> None:
    """Which race does is chance, so there are many of them: one in two did where this was written."""
    async with many(fresh_postgres_url, WRITERS + 2) as stores:
        alter(fresh_postgres_url, NO_LOCK)
        for seed in range(200):
            seen, held = await race(stores, seed, after_position=await stores[0].log.head())
            if any(len(tail) < len(held) for tail in seen):
                return
    raise AssertionError("no tail has skipped an event")
