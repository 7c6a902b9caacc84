"""One story on one kind of store: lived from fault to fault.

Comes from: `crash_points`, `test_lost_answers`. Goes to: `crash_outcomes`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from unittest.mock import patch

import msgspec
import psycopg
from psycopg import AsyncConnection, sql

from daemon.core.errors import Rejected
from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.core.evolve import fold
from daemon.core.state import Finished
from daemon.main import open_daemon
from daemon.runtime.projection import status_of
from daemon.settings import Daemon as DaemonSettings
from daemon.settings import Limits, Settings, Workflows
from daemon.settings_outside import Outbound
from daemon.testing.clock import FakeClock, settle
from daemon.testing.databases import new_database
from daemon.testing.ports import Crash, only_crashes
from eventstore.codec import Codec
from eventstore.errors import Conflict, Unavailable
from eventstore.index import ExecutionFilter
from eventstore.memory_leases import MemoryLeases
from eventstore.store import open_store
from eventstore.writer import Writer
from tests.faults.crash_outcomes import Outcome, what_came_of, without_times
from tests.faults.crash_stories import Act
from tests.support.crash_world import Fault, World, current
from tests.support.services import required
from triggers.publishing import Outbound as Sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from daemon.assembled import Daemon
    from eventstore.store import Store
    from tests.faults.crash_stories import Story

CODEC = Codec(EVENT_TYPES, UPCASTERS, payload_threshold_bytes=2048)
PATIENCE_S = 30.0
LONGEST = timedelta(days=1)


class Bench:
    """Runs one story on one kind of store."""

    def __init__(
        self,
        story: Story,
        folder: Path,
        url: str,
        new_url: Callable[[], str],
        *,
        cut: Callable[[], None] | None = None,
    ) -> None:
        """`url` is the witness service's; `cut` makes the network to the store swallow the answer to an append."""
        self.story = story
        self._new_url = new_url
        self._cut = cut
        file = folder / f"{story.name}.yaml"
        file.write_text(story.workflow.replace("URL", url))
        self._settings = Settings(
            workflows=Workflows(paths=(file,), handlers=("tests.support.crash_handlers",)),
            limits=Limits(grace_s=0.0),
            outbound=Outbound(allow_private=True),
            daemon=DaemonSettings(lease_ttl_s=60),
        )

    async def run(self, *faults: Fault) -> Outcome:
        """Live through the story, each life to its fault, the last one to the end; return what came of it."""
        async with self._world() as world:
            outcome = Outcome()
            for fault in [*faults, None]:
                ended = await self._live(world, fault)
                assert world.life is not None
                outcome.lives.append(world.life.passed)
                if ended:
                    lost = fault is not None and fault.kind != "crash" and len(world.life.passed) >= fault.at
                    outcome.reached = fault is faults[-1] and lost if fault is not None else True
                    break
            await self._look(world, outcome)
            return outcome

    @asynccontextmanager
    async def _world(self) -> AsyncIterator[World]:
        url = self._new_url()
        keeper, clock = await open_store(url, CODEC), FakeClock()
        world = World(keeper, clock, url)
        world.cut = self._cut
        current.append(world)
        try:
            yield world
        finally:
            current.remove(world)
            await keeper.close()

    async def _live(self, world: World, fault: Fault | None) -> bool:
        """Be one process; return whether it came to the end of the story."""
        await expire_members(world)
        store = world.store if world.in_memory else await open_store(world.url, CODEC)
        try:
            return await self._live_on(world, world.begin_life(store, fault))
        finally:
            if store is not world.store:
                await store.close()

    async def _live_on(self, world: World, store: Store) -> bool:
        life = world.life
        assert life is not None
        process = asyncio.create_task(self._process(world, store))
        death = asyncio.create_task(life.died.wait())
        await asyncio.wait({process, death}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if not life.dead:
            assert process.done(), f"it takes too long, after {life.passed[-3:]}"
            process.result()
            return True
        process.cancel()
        await asyncio.wait({process})
        if not process.cancelled() and (error := process.exception()) is not None:
            only_crashes(error)
        return False

    async def _process(self, world: World, store: Store) -> None:
        quick = patch.dict(Writer.__init__.__kwdefaults__ or {}, first_pause_s=0.001)
        surviving = patch("daemon.runtime.brokers.MemoryBroker", lambda **_: world.broker)
        alone = patch(
            "daemon.runtime.clock.SharedClock.compare", lambda *_: None
        )  # the database does not know our time
        with quick, surviving, alone:
            async with open_daemon(
                self._settings, clock=world.clock, store=store, environ={}, jitter=lambda: 0.0
            ) as daemon:
                await daemon.start()
                await self._go_on(world, daemon)

    async def _go_on(self, world: World, daemon: Daemon) -> None:
        """Publish and do what is due; when nothing can go on without it, move the clock. Until the story has ended."""
        clock = world.clock
        while True:
            await settle()
            while world.next_message < len(self.story.messages):
                message = self.story.messages[world.next_message]
                if clock.now() < world.began + timedelta(seconds=message.at_s):
                    break
                if isinstance(message, Act):
                    if not await act(world, daemon, message):
                        break
                else:
                    await world.broker.deliver(Sent(destination=message.topic, body=message.body.encode()))
                world.next_message += 1
            if not await self._quiet(world, daemon):
                await asyncio.sleep(0.0005)
            elif await self._ended(world):
                return
            else:
                await clock.advance(self._pause(world))

    async def _quiet(self, world: World, daemon: Daemon) -> bool:
        """Tell whether nothing is under way but the passing of time."""
        life = world.life
        assert life is not None
        before = self._signs(world, daemon)
        await settle()
        after = self._signs(world, daemon)
        return not life.dead and not after[0] and before == after

    def _signs(self, world: World, daemon: Daemon) -> tuple[bool, int, int]:
        """Return whether something is under way that needs no passing of time, and what has been done so far."""
        life = world.life
        assert life is not None
        at_work = sum(1 for _ in daemon.steps.at_work())
        under_way = life.busy > 0 or at_work > world.sleeping or not world.broker.settled
        return under_way, len(life.passed), life.calls

    def _pause(self, world: World) -> float:
        """Return the seconds to whatever comes next."""
        now = world.clock.now()
        assert now < world.began + LONGEST, "it waits for ever"
        coming = world.clock.pauses()[:1]
        if world.next_message < len(self.story.messages):
            due = world.began + timedelta(seconds=self.story.messages[world.next_message].at_s)
            coming.append((due - now).total_seconds())
        assert coming, "nothing is under way, and nothing will come"
        return min(coming)

    async def _ended(self, world: World) -> bool:
        if world.next_message < len(self.story.messages) or not world.broker.settled:
            return False
        rows = await world.store.index.executions(ExecutionFilter(limit=1000))
        return len(rows) == self.story.executions and all(row.finished_at is not None for row in rows)

    async def _look(self, world: World, outcome: Outcome) -> None:
        """Read what the story has left behind, and check what holds without comparing."""
        store = world.store
        for row in await store.index.executions(ExecutionFilter(limit=1000)):
            recorded = await store.log.read(row.execution_id)
            assert [each.version for each in recorded] == list(range(1, len(recorded) + 1))
            state = fold(each.event for each in recorded)
            assert isinstance(state, Finished)
            assert (row.status, row.cause, row.finished_at) == (status_of(state), "", state.finished_at)
            told = [without_times(each.event) for each in recorded]
            outcome.logs[row.execution_id] = told if self.story.in_order else sorted(told)
            outcome.states[row.execution_id] = what_came_of(state)
        everything = await store.log.read_all(limit=100_000)
        assert {each.execution_id for each in everything} == set(outcome.logs)
        assert await store.index.next_due() is None
        assert await store.index.without_cause() == []
        outcome.done = dict(world.witness.done)
        outcome.refused = len(world.broker.messages("answers.dlq"))
        outcome.counts = {
            **world.witness.asked,
            **{f"{topic} {key}": count for (topic, key), count in world.broker.sent.items()},
        }


async def act(world: World, daemon: Daemon, wanted: Act) -> bool:
    """Be a person who does this, again until there is an answer; False when there is nothing yet that it is about.

    A refusal is an answer: it was done in an earlier life.
    """
    rows = await world.store.index.executions(ExecutionFilter(limit=1000))
    people, by, told = daemon.people, wanted.by, f"at {wanted.at_s}"
    for target in [row.execution_id for row in rows if row.finished_at is None]:
        while True:
            try:
                if wanted.decision:
                    await people.decide(target, wanted.address, wanted.decision, actor=by)
                else:
                    await people.resume_step(target, wanted.address, wanted.given, resume_id=told, actor=by)
            except (Unavailable, Conflict):
                await asyncio.sleep(0.001)
            except Rejected:
                break
            else:
                break
    return bool(rows)


async def expire_members(world: World) -> None:
    """Let the lease of the process that died run out, without waiting for it."""
    leases = world.store.leases
    if isinstance(leases, MemoryLeases):
        leases._ends = dict.fromkeys(leases._ends, datetime.min.replace(tzinfo=UTC))
    elif world.url.startswith("postgres"):
        async with await AsyncConnection.connect(world.url, autocommit=True) as connection:
            await connection.execute("UPDATE daemons SET beat_at = beat_at - interval '1 day'")


@contextmanager
def witness_service() -> Iterator[str]:
    """Serve HTTP that tells the witness, and hangs up when the process that asks is struck dead."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            key = self.headers["Idempotency-Key"]
            try:
                value = current[-1].effect(f"http {self.path}", key, 0, f"done {self.path}")
            except Crash:
                self.close_connection = True
                return
            body = msgspec.json.encode(value)
            self.send_response_only(200)  # without the date
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def stores(kind: str, folder: Path) -> Iterator[Callable[[], str]]:
    """Give a function that returns the URL of another empty store at each call."""
    match kind:
        case "memory":
            yield lambda: "memory://"
        case "sqlite":

            def new_file() -> str:
                for old in folder.glob("store.db*"):
                    old.unlink()
                return f"sqlite:///{folder}/store.db"

            yield new_file
        case _:
            with new_database(required("SAGAD_TEST_POSTGRES_URL")) as url:

                def emptied() -> str:
                    empty(url)
                    return url

                yield emptied


def empty(url: str) -> None:
    """Empty every table of a Postgres database but the one that tells its schema."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        tables = [sql.Identifier(name) for (name,) in found if name != "sagad_schema"]
        if tables:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
