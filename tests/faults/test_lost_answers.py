"""Postgres commits and its answer is lost, at each append of a story: looked up, neither lost nor done twice."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from daemon.settings import Limits, Settings, Store, Workflows
from daemon.testing.databases import new_database
from eventstore.index import ExecutionFilter
from tests.faults.crash_bench import Bench, empty, witness_service
from tests.faults.crash_outcomes import differences
from tests.faults.crash_stories import STORIES
from tests.faults.test_bad_data import completed, running
from tests.support.crash_world import Fault
from tests.support.services import required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KILLING_S = 30.0
RETRIES = next(story for story in STORIES if story.name == "retries")


class Line:
    """The network to the server. `swallow` waits until the next append is committed, and then cuts its connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._target = parts.hostname or "127.0.0.1", parts.port or 5432
        self._armed = False
        self.swallowed: list[int] = []
        """Of each append whose answer was lost, how many events it had committed by then."""

    def swallow(self) -> None:
        """Let the server commit the next append, and lose what it says."""
        self._armed = True

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be one connection."""
        there, back = await asyncio.open_connection(*self._target)
        asked = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._to_server(reader, back, asked))
                group.create_task(self._to_client(there, writer, asked))
        except* OSError:
            pass
        finally:
            for end in (writer, back):
                end.transport.abort()

    async def _to_server(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, asked: asyncio.Future[int]
    ) -> None:
        """Note how much is recorded when an append is asked for: that is bound after its parsing was answered."""
        appends = False
        while chunk := await reader.read(65536):
            appends = appends or b"sagad_append" in chunk
            if self._armed and appends and chunk.startswith(b"B"):
                self._armed = False
                asked.set_result(await self._recorded())
            back.write(chunk)
        raise ConnectionResetError

    async def _to_client(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Future[int]
    ) -> None:
        while chunk := await there.read(65536):
            if asked.done():
                self.swallowed.append(await self._recorded() - asked.result())
                raise ConnectionResetError  # nobody hears of it
            writer.write(chunk)
        raise ConnectionResetError

    async def _recorded(self) -> int:
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            row = await (await connection.execute("SELECT count(*) FROM stored_events")).fetchone()
        assert row is not None
        return int(row[0])


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """Give a line to the server, and the URL that goes over it."""
    parts = urlsplit(url)
    line = Line(url)
    server = await asyncio.start_server(line.relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield line, parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
    finally:
        server.close()


async def test_every_append_may_lose_its_answer(tmp_path: Path) -> None:
    """The same log, and each handler runs once: an uncertain append is read back, not decided again."""
    with witness_service() as witness, new_database(required("SAGAD_TEST_POSTGRES_URL")) as direct:
        async with line_to(direct) as (line, url):

            def emptied() -> str:
                empty(direct)
                return url

            bench = Bench(RETRIES, tmp_path, witness, emptied, cut=line.swallow)
            expected = await bench.run()
            appends = [
                at for at, name in enumerate(expected.lives[0], 1) if name.endswith(": before") and "append" in name
            ]
            assert len(appends) > 5
            for number, at in enumerate(appends, 1):
                got = await bench.run(Fault(at, "cut"))
                assert differences(RETRIES, expected, got, crashes=0) == []
                assert len(line.swallowed) == number
                assert line.swallowed[-1] > 0, "it was not committed when its answer was lost"


@pytest.mark.parametrize("ends", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_backends_that_are_killed_under_load(fresh_postgres_url: str, tmp_path: Path, ends: str) -> None:
    """Executions that append all the time while the backend that writes is ended again and again: each ends once."""
    file = tmp_path / "flow.yaml"
    steps = "\n".join(f"  s{n}: {{task: pass, with: {{value: {n}}}}}" for n in range(10))
    edges = ", ".join(f"s{n} -> s{n + 1}" for n in range(9))
    file.write_text(f"workflow: long\nnodes:\n{steps}\nedges: [{edges}]\n")
    settings = Settings(
        store=Store(url=fresh_postgres_url),
        workflows=Workflows(paths=(file,), handlers=("tests.support.gated_handlers",)),
        limits=Limits(grace_s=0.1),
    )
    async with running(settings) as daemon:
        killing = asyncio.create_task(asyncio.to_thread(_kill, fresh_postgres_url, ends))
        keys: list[str] = []
        while not (keys and killing.done()):
            lot = [f"k{len(keys) + number}" for number in range(20)]
            keys += lot
            started = await asyncio.gather(*(daemon.intake.start("long", 1, key=key, actor="test") for key in lot))
            for execution_id, _ in started:
                await completed(daemon, execution_id)
        assert killing.result() > 0
        rows = await daemon.store.index.executions(ExecutionFilter(limit=len(keys) + 1))
        assert sorted(row.dedupe_key or "" for row in rows) == sorted(keys)
        for row in rows:
            events = await daemon.store.log.read(row.execution_id)
            assert [each.version for each in events] == list(range(1, 23))


def _kill(url: str, ends: str) -> int:
    """End the backend that appends, ten times, whenever it is at work, or as often as that comes about in time."""
    killed = 0
    wanted = (
        f"SELECT {ends}(pid) FROM pg_stat_activity WHERE datname = current_database()"  # noqa: S608  a name of ours
        " AND query LIKE '%%sagad_append%%' AND state = 'active' AND pid <> pg_backend_pid()"
    )
    until = time.monotonic() + KILLING_S
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        while killed < 10 and time.monotonic() < until:
            killed += len(connection.execute(wanted.encode()).fetchall())
    return killed
