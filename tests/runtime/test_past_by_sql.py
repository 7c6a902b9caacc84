"""The views for people: which executions waited for an approval at a time, and with which values, in plain SQL."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from daemon.core.people import Deciding
from daemon.settings import Limits, Store
from daemon.testing.clock import FakeClock
from tests.support.daemons import finished, running, settings_for, start, until

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.assembled import Daemon
    from daemon.core.state import State

PAY = """
workflow: pay
vars: {limit: 1}
nodes:
  raise_limit: {set: {limit: "{{ input.total * 2 }}"}}
  ask: {approval: {prompt: "Pay {{ input.total }}?", approvers: [ann]}}
  lower_limit: {set: {limit: 0}}
edges: [raise_limit -> ask, ask.approved -> lower_limit]
"""
WAITED = """
    SELECT execution_id, step, prompt, input FROM sagad_approvals
    WHERE asked_at <= {at} AND (ended_at IS NULL OR ended_at > {at})
"""
LIMITS = """
    SELECT value FROM sagad_variables
    WHERE execution_id = {id} AND name = 'limit' AND set_at <= {at} AND (until IS NULL OR until > {at})
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


def ask(url: str, sql: str, at: datetime | None = None, execution_id: Any = None) -> list[tuple[Any, ...]]:
    """Ask the database as anybody would."""
    if url.startswith("sqlite"):
        moment = at and at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        text = sql.format(at=f"'{moment}'", id=f"'{execution_id.hex}'" if execution_id else "")
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()
    text = sql.format(at=f"'{at.isoformat() if at else ''}'::timestamptz", id=f"'{execution_id}'")
    with psycopg.connect(url) as postgres:
        return postgres.execute(text.encode()).fetchall()


def value(found: Any) -> Any:
    """Return JSON of either database."""
    return json.loads(found) if isinstance(found, str) else found


def asked(state: State) -> bool:
    return isinstance(getattr(state, "steps", {}).get("ask"), Deciding)


async def approve(daemon: Daemon, target: Any) -> None:
    await daemon.people.decide(target, "ask", decision="approved", actor="ann")


async def time_of(daemon: Daemon, target: Any, name: str) -> datetime:
    """Return when the execution's last event of this name was recorded."""
    found: datetime = [each.event.at for each in await daemon.history.events(target) if name == each.event.NAME][-1]
    return found


async def test_who_waited_at_a_time_and_with_which_values(url: str, tmp_path: Path) -> None:
    """One asks and is answered, one asks in between: each moment has its own answer."""
    clock = FakeClock() if url.startswith("sqlite") else None  # Postgres has its own time
    settings = settings_for(tmp_path, PAY, store_url=url, limits=Limits(grace_s=0.1, payload_threshold_bytes=1024))
    async with running(settings, clock=clock) as daemon:
        first = await start(daemon, "pay", {"total": 7})
        await until(daemon, first, asked)
        if clock is not None:
            clock.leap(clock.now() + timedelta(seconds=1))
        second = await start(daemon, "pay", {"total": 9, "note": "x" * 5000})
        await until(daemon, second, asked)
        if clock is not None:
            clock.leap(clock.now() + timedelta(seconds=1))
        await approve(daemon, first)
        await finished(daemon, first)
        before = await time_of(daemon, first, "ExecutionStarted") - timedelta(seconds=1)
        between = await time_of(daemon, second, "ApprovalRequested")
        after = await time_of(daemon, first, "ExecutionCompleted")
        rows = {str(row[0]).replace("-", ""): row[1:] for row in ask(url, WAITED, between)}
        assert rows.keys() == {first.hex, second.hex}
        assert rows[first.hex][:2] == ("ask", "Pay 7?")
        assert value(rows[first.hex][2]) == {"total": 7}
        assert value(rows[second.hex][2]) == {"total": 9, "note": "x" * 5000}
        assert [str(row[0]).replace("-", "") for row in ask(url, WAITED, after)] == [second.hex]
        assert ask(url, WAITED, before) == []
        assert [value(row[0]) for row in ask(url, LIMITS, between, first)] == [14]
        assert [value(row[0]) for row in ask(url, LIMITS, after, first)] == [0]
        names = [row[0] for row in ask(url, "SELECT name FROM sagad_events WHERE execution_id = {id}", None, first)]
        assert names[0] == "ExecutionStarted"
        assert "ApprovalRequested" in names


async def test_what_was_compressed_reads_as_nothing(url: str, tmp_path: Path) -> None:
    """The views say so with NULL, and fail for no row."""
    settings = settings_for(tmp_path, PAY, store_url=url)
    settings = type(settings)(
        store=Store(url=url, compressor_topic="zlib"), workflows=settings.workflows, limits=settings.limits
    )
    async with running(settings) as daemon:
        await until(daemon, await start(daemon, "pay", {"total": 7}), asked)
        ((_, step, prompt, given),) = ask(url, WAITED, datetime.now(UTC) + timedelta(minutes=1))
        assert (step, prompt, given) == ("ask", "Pay 7?", None)
        assert all(row[0] is None for row in ask(url, "SELECT data FROM sagad_events"))
