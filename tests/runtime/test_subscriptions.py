"""What the daemon receives from, over stops, reloads and restarts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daemon.runtime import subscriptions
from daemon.runtime.codec import codec_of
from daemon.testing.clock import FakeClock
from eventstore.errors import Unavailable
from eventstore.index import ExecutionFilter
from eventstore.store import open_store
from tests.support.daemons import PATIENCE_S, running, settings_for

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from daemon.assembled import Daemon

DAILY = """
workflow: daily
triggers: [{name: tick, schedule: {cron: "0 12 * * *"}, dedupe: "{{ message.value.tick[:10] }}"}]
nodes: {a: {transform: 1}}
"""


async def started_on(daemon: Daemon, *days: str) -> None:
    """Return when there are executions for these days and no others."""

    async def days_started() -> set[str | None]:
        return {row.dedupe_key for row in await daemon.store.index.executions(ExecutionFilter())}

    async with asyncio.timeout(PATIENCE_S):
        while await days_started() != set(days):  # noqa: ASYNC110  rows have no event
            await asyncio.sleep(0)


async def test_a_schedule_with_an_identity_of_its_own_survives_a_restart(tmp_path: Path) -> None:
    """A key that is a date and not a time does not tell the last tick."""
    settings = settings_for(tmp_path, DAILY)
    store = await open_store("memory://", codec_of(settings))
    clock = FakeClock(datetime(2026, 1, 1, 11, 59, 50, tzinfo=UTC))
    async with running(settings, clock=clock, store=store) as daemon:
        await clock.until_sleeping()
        await clock.advance(10)
        await started_on(daemon, "2026-01-01")
    async with running(settings, clock=FakeClock(datetime(2026, 1, 2, 13, tzinfo=UTC)), store=store) as daemon:
        await started_on(daemon, "2026-01-01", "2026-01-02")


async def test_a_schedule_waits_for_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "PAUSE_S", 0)
    settings = settings_for(tmp_path, DAILY)
    store = await open_store("memory://", codec_of(settings))
    answer, asked = store.index.latest_dedupe_key, asyncio.Event()

    async def away_at_first(trigger: str) -> str | None:
        if not asked.is_set():
            asked.set()
            raise Unavailable("away")
        return await answer(trigger)

    monkeypatch.setattr(store.index, "latest_dedupe_key", away_at_first)
    clock = FakeClock(datetime(2026, 1, 1, 11, 59, 50, tzinfo=UTC))
    async with running(settings, clock=clock, store=store) as daemon:
        await asked.wait()
        await clock.until_sleeping(2)
        await clock.advance(10)
        await started_on(daemon, "2026-01-01")


async def test_a_stop_during_a_reload_leaves_nothing_running(tmp_path: Path) -> None:
    """Else the daemon would receive for ever, and its process never end."""
    async with asyncio.timeout(PATIENCE_S), running(settings_for(tmp_path, DAILY)) as daemon:
        changed = daemon.compiler.load_text(DAILY.replace("12", "13")).plans[0].definition.triggers[0]
        prepared = daemon.subscriptions.prepare({"daily/tick": changed})
        replacing = asyncio.create_task(daemon.subscriptions.replace(prepared))
        await asyncio.sleep(0)
        await daemon.stop()
        await replacing
        assert daemon.subscriptions.statuses() == []


async def test_a_reload_that_the_store_does_not_take_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(settings_for(tmp_path, DAILY)) as daemon:
        before = daemon.plans.current("daily")

        async def away(_definition: object) -> None:
            raise Unavailable("away")

        monkeypatch.setattr(daemon.store.definitions, "put", away)
        (tmp_path / "workflows.yaml").write_text(DAILY.replace("12", "13"))
        await daemon.reload()
        assert daemon.plans.current("daily") is before
